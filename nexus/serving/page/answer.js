// How an answer is shown: who answered, on what grounds, or why not. The one idea: what stands behind an answer is
// read from the extension field `nexus` (nexus/living/answers.py), and never guessed from its text.

import { el, percent } from "./dom.js";
import { factText } from "./memory.js";

const CHANNELS = {
  proof: ["Proved", "The proof was accepted by an independent checker."],
  memory: ["From what you taught", "Word for word from a text that you taught; the place is shown below."],
  model: ["The model, certified", "The language model, above the score that a certificate demands."],
};
const UNGUARDED = ["The model, no gate", "Nothing stands behind this answer: it may be wrong."];

/** The line above an answer. */
export function badge(nexus) {
  if (nexus && !nexus.answered) return mark("refused", "Not answered", "Nothing certified could be said.");
  if (!nexus) return mark("none", ...UNGUARDED);
  const guarded = nexus.channel !== "model" || nexus.certificate;
  const [name, why] = (guarded && CHANNELS[nexus.channel]) || UNGUARDED;
  return mark(guarded ? nexus.channel : "none", name, why);
}

function mark(kind, name, why) {
  return el("p", { class: `badge ${kind}` }, el("strong", {}, name), " ", el("span", {}, why));
}

/** What stands behind an answer: reason (if the text has not told it), citations, proof, figures. */
export function grounds(nexus, text, speed) {
  if (!nexus) return [figures([speed])];
  const told = text.toLowerCase().includes(nexus.reason.toLowerCase());
  return [
    told ? null : el("p", { class: "reason" }, el("strong", {}, "Why: "), nexus.reason),
    nexus.citations?.length ? citations(nexus.citations) : null,
    nexus.proof ? proof(nexus.proof) : null,
    figures([...standing(nexus), speed]),
  ];
}

function citations(found) {
  return el(
    "section",
    { class: "citations", "aria-label": "Sources" },
    el("h3", {}, found.length === 1 ? "Source" : "Sources"),
    found.map(citation),
  );
}

/** The whole text with the exact span marked; of a text that was forgotten since, the span alone. */
function citation({ fact, source, start, end, quote }) {
  const letters = [...(factText(fact) ?? "")]; // places count characters as Python does, not UTF-16 units
  const holds = letters.slice(start, end).join("") === quote;
  const [before, after] = holds ? around(letters, start, end) : ["", ""];
  return el(
    "figure",
    {},
    el("blockquote", {}, before, el("mark", {}, quote), after),
    el("figcaption", {}, `${source || "taught without a source"} · fact ${fact}, characters ${start}–${end}`),
  );
}

function around(letters, start, end, most = 160) {
  const from = Math.max(0, start - most);
  const to = Math.min(letters.length, end + most);
  const before = letters.slice(from, start).join("");
  const after = letters.slice(end, to).join("");
  return [(from ? "…" : "") + before, after + (to < letters.length ? "…" : "")];
}

/** A proof, folded: its lines in words where it has them, else its plain values. */
function proof(found) {
  const lines = Array.isArray(found.proof) ? found.proof : null;
  const title = lines ? `Proof, ${lines.length === 1 ? "1 line" : `${lines.length} lines`}` : "Proof";
  const body = lines
    ? el("ol", {}, lines.map((line) => proofLine(String(line))))
    : el("pre", { tabindex: "0" }, JSON.stringify(found, null, 2));
  const about = [found.question, found.status, found.engine && `found by ${found.engine}`].filter(Boolean).join(" · ");
  return el("details", { class: "proof" }, el("summary", {}, title), about ? el("p", {}, about) : null, body);
}

/** "4. Rex is an animal  (therefore, from 3, 2)": the ground in small letters. */
function proofLine(line) {
  const [, said, why] = /^(?:\d+\.\s*)?(.*?)(?:\s+(\(.*\)))?$/s.exec(line);
  return el("li", {}, said, why ? el("small", {}, ` ${why}`) : null);
}

function standing(nexus) {
  const sure = typeof nexus.score === "number" ? `score ${nexus.score.toFixed(2)}` : null;
  const needed = typeof nexus.threshold === "number" ? `needed ${nexus.threshold.toFixed(2)}` : null;
  const certificate = nexus.certificate ? `certificate ${nexus.certificate.slice(0, 8)}` : null;
  const memory = nexus.memory ? `memory version ${nexus.memory}` : null;
  return [sure, needed, certificate, memory];
}

function figures(parts) {
  const said = parts.filter(Boolean).join(" · ");
  return said ? el("p", { class: "figures" }, said) : null;
}

/** A certificate in words. */
export function certificateWords({ alpha, delta, coverage_bound: coverage }) {
  const least = typeof coverage === "number" ? `, at least ${percent(coverage)} answered` : "";
  return `at most ${percent(alpha)} wrong${least} (${percent(1 - delta)} sure)`;
}
