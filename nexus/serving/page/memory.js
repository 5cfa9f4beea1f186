// What was taught. The one idea: nothing is said to be learnt, changed or gone before the server has said so.

import { get, post } from "./api.js";
import { $, announce, attempt, count, el, passage, replace } from "./dom.js";
import { history } from "./history.js";
import { show } from "./views.js";

const SHOWN = 100; // facts at once; the search finds the others
let facts = [];

export function startMemory() {
  $("teach").addEventListener("submit", (event) => {
    event.preventDefault();
    teach();
  });
  $("search").addEventListener("input", list);
  $("export").addEventListener("click", save);
}

export function factText(number) {
  return facts.find((fact) => fact.seq === number)?.text;
}

/** Read facts and history anew. */
export async function refreshMemory() {
  const [held, log] = await Promise.all([get("/v1/nexus/facts"), get("/v1/nexus/log?limit=200")]);
  facts = held.facts;
  list();
  history(log, refreshMemory);
}

/** Bring the reader to the form that teaches. */
export function teachThis() {
  show("memory");
  $("teach-text").focus();
}

/** Open the form that corrects a fact. */
export function correctFact(number) {
  show("memory");
  $("search").value = "";
  list();
  const button = document.querySelector(`#facts [data-fact="${Number(number)}"] .correct`);
  if (button) button.click();
  else announce(`Fact ${number} no longer holds.`, true);
}

async function teach() {
  const [text, source] = [$("teach-text"), $("teach-source")];
  await attempt([$("teach-send")], async () => {
    const { fact } = await post("/v1/nexus/teach", { text: text.value, source: source.value });
    text.value = source.value = "";
    announce(`Learnt, as fact ${fact}.`);
    await refreshMemory();
  });
  text.focus();
}

function list() {
  const wanted = $("search").value.trim().toLowerCase();
  const found = facts.filter((fact) => `${fact.text}\n${fact.source}`.toLowerCase().includes(wanted)).reverse();
  $("search-row").hidden = facts.length < 5 && !wanted;
  $("facts-count").textContent = count(facts.length, "fact");
  const rest = found.length - SHOWN;
  replace(
    $("facts"),
    found.slice(0, SHOWN).map(item),
    found.length ? null : el("li", { class: "empty" }, facts.length ? "Nothing found." : "Nothing was taught yet."),
    rest > 0 ? el("li", { class: "empty" }, `and ${rest} more: search for them`) : null,
  );
}

function item(fact) {
  const row = el("li", { "data-fact": fact.seq });
  const about = fact.source ? `${fact.source} · fact ${fact.seq}` : `fact ${fact.seq}`;
  const named = (verb) => ({ type: "button", class: verb.toLowerCase(), "aria-label": `${verb} fact ${fact.seq}` });
  const correct = el("button", { ...named("Correct"), onclick: () => edit(row, fact) }, "Correct");
  const forget = el("button", { ...named("Forget"), onclick: () => sure(row, fact) }, "Forget");
  const actions = el("div", { class: "actions" }, el("span", { class: "about" }, about), correct, forget);
  row.append(passage(fact.text), actions);
  return row;
}

function edit(row, fact) {
  const id = `edit-${fact.seq}`;
  const field = el("textarea", { id, rows: 3, required: true });
  field.value = fact.text;
  const send = el("button", { type: "submit", class: "main" }, "Correct");
  const back = el("button", { type: "button", onclick: () => restore(row, fact, ".correct") }, "Cancel");
  const label = el("label", { for: id }, `What holds instead of fact ${fact.seq}`);
  const form = el("form", {}, label, field, el("div", { class: "row" }, send, back));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    await attempt([send, back], async () => {
      const { fact: newer } = await post("/v1/nexus/correct", { fact: fact.seq, text: field.value });
      announce(`Corrected: fact ${fact.seq} is now fact ${newer}.`);
      await refreshMemory();
      document.querySelector(`#facts [data-fact="${newer}"] .correct`)?.focus();
    });
  });
  replace(row, form);
  field.focus();
}

function sure(row, fact) {
  const yes = el("button", { type: "button", class: "danger" }, "Forget for good");
  const no = el("button", { type: "button", onclick: () => restore(row, fact, ".forget") }, "Keep");
  const said = "This erases it everywhere, with what it was corrected from. A rollback does not bring it back.";
  const group = el("div", { role: "group", "aria-label": `Forget fact ${fact.seq}?` });
  group.append(passage(fact.text), el("p", { class: "warn" }, said), el("div", { class: "row" }, no, yes));
  yes.addEventListener("click", () =>
    attempt([yes, no], async () => {
      const { erased } = await post("/v1/nexus/forget", { fact: fact.seq });
      const still = erased ? "" : " Its text leaves the file when another program has finished reading it.";
      announce(`Forgotten: fact ${fact.seq}.${still}`);
      await refreshMemory();
      $("teach-text").focus();
    }),
  );
  replace(row, group);
  no.focus();
}

function restore(row, fact, focus) {
  const fresh = item(fact);
  row.replaceWith(fresh);
  fresh.querySelector(focus).focus();
}

/** Everything that is held about the user, as a file. */
async function save() {
  await attempt([$("export")], async () => {
    const held = await get("/v1/nexus/export");
    const url = URL.createObjectURL(new Blob([JSON.stringify(held, null, 2)], { type: "application/json" }));
    el("a", { href: url, download: "nexus-memory.json" }).click();
    URL.revokeObjectURL(url);
    announce("Saved as nexus-memory.json.");
  });
}
