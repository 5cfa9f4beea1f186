// The memory's history, newest first. The one idea: a rollback is one more line, so it can be taken back as well.

import { post } from "./api.js";
import { $, announce, attempt, el, passage, replace } from "./dom.js";

const VERBS = { teach: "Taught", correct: "Corrected", forget: "Forgot", feedback: "Judged", rollback: "Rolled back" };
const CLOCK = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export function history({ version, events }, refresh) {
  $("version-now").textContent = `version ${version}`;
  const last = events.at(-1)?.seq;
  replace(
    $("history"),
    [...events].reverse().map((event) => line(event, event.seq === last, refresh)),
    events.length ? null : el("li", { class: "empty" }, "No history yet."),
  );
}

function line(event, newest, refresh) {
  const back = el("button", { type: "button", "aria-label": `Go back to version ${event.seq}` }, "Go back here");
  const row = el("li", { class: event.kind });
  const about = el("span", { class: "about" }, `${event.seq} · ${CLOCK.format(event.at * 1000)}`);
  back.addEventListener("click", () => sure(row, back, event.seq, refresh));
  row.append(
    passage(words(event), VERBS[event.kind] ?? event.kind),
    el("div", { class: "actions" }, about, newest || event.kind === "feedback" ? null : back),
  );
  return row;
}

function words({ kind, payload }) {
  if (payload === null) return "(forgotten)";
  if (kind === "teach") return payload.text;
  if (kind === "correct") return `fact ${payload.fact}: ${payload.text}`;
  if (kind === "forget") return `fact ${payload.fact}`;
  if (kind === "rollback") return `to version ${payload.version}`;
  return payload.right ? "an answer as right" : "an answer as wrong";
}

function sure(row, back, version, refresh) {
  const yes = el("button", { type: "button", class: "main" }, `Go back to version ${version}`);
  const no = el("button", { type: "button" }, "Cancel");
  const group = el("div", { class: "row", role: "group", "aria-label": `Go back to version ${version}?` }, yes, no);
  no.addEventListener("click", () => {
    group.remove();
    back.hidden = false;
    back.focus();
  });
  yes.addEventListener("click", () =>
    attempt([yes, no], async () => {
      await post("/v1/nexus/rollback", { version });
      announce(`Back at version ${version}.`);
      await refresh();
      $("history-title").focus();
    }),
  );
  back.hidden = true;
  row.append(group);
  yes.focus();
}
