// Which part of the page is seen where there is room for one only. The one idea: CSS decides whether that is so.

import { $ } from "./dom.js";

const VIEWS = ["chat", "memory", "live"];

export function startViews() {
  for (const name of VIEWS) $(`to-${name}`).addEventListener("click", () => show(name));
  show("chat");
}

export function show(name) {
  document.body.dataset.view = name;
  for (const other of VIEWS) {
    if (other === name) $(`to-${other}`).setAttribute("aria-current", "page");
    else $(`to-${other}`).removeAttribute("aria-current");
  }
}
