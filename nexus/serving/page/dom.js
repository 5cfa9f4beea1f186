// Elements from plain values. The one idea: text goes in as text nodes only, so nothing said by anybody becomes markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes, listeners (`onclick: f`) and children (elements or texts; null is left out). */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

export function $(id) {
  return document.getElementById(id);
}

/** Put new children in the place of the old ones. */
export function replace(parent, ...children) {
  parent.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined));
}

/** Say something to everybody, people with screen readers included. */
export function announce(text, wrong = false) {
  const place = $("said");
  place.textContent = text;
  place.className = wrong ? "said wrong" : "said";
  clearTimeout(announce.timer);
  announce.timer = setTimeout(() => place.classList.add("gone"), wrong ? 12000 : 5000);
}

/** Run what the server may refuse; the refusal is shown, and the controls rest meanwhile. */
export async function attempt(controls, work) {
  for (const control of controls) control.disabled = true;
  try {
    return await work();
  } catch (error) {
    announce(error.message, true);
    return null;
  } finally {
    for (const control of controls) control.disabled = false;
  }
}

/** A text as it is, behind a word; a long one is folded. */
export function passage(text, word = "", most = 400) {
  const title = word ? [el("strong", {}, word), " "] : [];
  if (text.length <= most) return el("p", { class: "text" }, title, text);
  return el("details", { class: "text" }, el("summary", {}, title, `${text.slice(0, most)}…`), text);
}

export function percent(share, digits = 1) {
  return `${(100 * share).toFixed(digits).replace(/\.0+$/, "")}\u202f%`; // a space that does not break
}

export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}
