// The live panel. The one idea: every figure is the server's own count, with how sure it is beside it.

import { certificateWords } from "./answer.js";
import { get } from "./api.js";
import { chart, running } from "./chart.js";
import { $, count, el, percent, replace } from "./dom.js";

const EVERY = 5000; // milliseconds between two looks
const CHANNELS = { proof: "Checked proof", memory: "What was taught", model: "Language model" };
let timer = null;

export function startLive() {
  document.addEventListener("visibilitychange", () => document.hidden || refreshLive());
}

/** Read the status now, and from now on. */
export async function refreshLive() {
  clearTimeout(timer);
  try {
    draw(await get("/v1/nexus/status"));
    connection("ready", "ready");
  } catch (error) {
    connection("down", error.status === 401 ? "needs a key" : "not connected");
    if (error.status === 401) return; // the key dialog calls again
  }
  if (!document.hidden) timer = setTimeout(refreshLive, EVERY);
}

function connection(kind, text) {
  $("connection").className = `connection ${kind}`;
  $("connection-text").textContent = text;
}

function draw(status) {
  document.body.dataset.model = status.model;
  document.body.dataset.memory = status.memory_version === null ? "no" : "yes";
  $("model").textContent = status.model;
  tiles(status);
  risk(status.feedback, status.channels);
  coverage(status.answers);
  replace($("channels"), status.channels.map(channel));
  $("no-channels").hidden = status.channels.length > 0;
  // a gate's certificates are for questions that stand alone
  if (status.channels.length) document.dispatchEvent(new Event("gate-found"));
}

function tiles({ memory_version, facts, speed, sampler, energy }) {
  tile("version", memory_version ?? "none", facts === null ? "no journal" : count(facts, "fact"));
  const rate = speed.tokens_per_second;
  const first = speed.first_token_seconds;
  const wait = first === null ? "" : `, the first after ${seconds(first)}`;
  tile("speed", rate === null ? "–" : rate.toFixed(rate < 10 ? 1 : 0), `tokens a second${wait}`);
  tile("heat", $("temperature").value, `of this chat; the server's default is ${sampler.temperature}`);
  const steps = energy?.iterations ?? null;
  const note = energy ? `a position, ${energy.most} at most` : "this model has no energy module";
  tile("energy", steps === null ? "–" : steps.toFixed(1), note);
}

function tile(id, value, note) {
  $(`${id}-value`).textContent = value;
  $(`${id}-note`).textContent = note;
}

function seconds(time) {
  return time < 1 ? `${Math.round(1000 * time)} ms` : `${time.toFixed(1)} s`;
}

/** Of the answers that were judged, the share that was wrong. */
function risk({ right, wrong, highest, sure, recent }, channels) {
  const all = right + wrong;
  if (!all) {
    $("risk-text").textContent = "No answer was judged yet. “Right” and “Wrong” below an answer count here.";
    replace($("risk-chart"));
    return;
  }
  const bound = `at most ${percent(highest)} (${percent(sure)} sure)`;
  const said = `${wrong} of ${all} judged answers were wrong: ${percent(wrong / all)}, ${bound}`;
  $("risk-text").textContent = `${said}.`;
  const allowed = channels.map((c) => c.alpha).filter((alpha) => typeof alpha === "number");
  const limit = allowed.length ? Math.max(...allowed) : null;
  const shares = running(recent.map((good) => !good), before(recent, (good) => !good, wrong, all));
  replace($("risk-chart"), chart(shares, { label: `Running risk. ${said}`, limit, kind: "risk" }));
}

/** Of the questions that were asked, the share that was answered. */
function coverage({ answered, refused, recent }) {
  const all = answered + refused;
  if (!all) {
    $("coverage-text").textContent = "No question has passed the gate since the server started.";
    replace($("coverage-chart"));
    return;
  }
  const said = `${answered} of ${count(all, "question")} answered: ${percent(answered / all)}`;
  $("coverage-text").textContent = `${said}, ${refused} refused.`;
  const shares = running(recent, before(recent, Boolean, answered, all));
  replace($("coverage-chart"), chart(shares, { label: `Running coverage. ${said}`, kind: "coverage" }));
}

/** The counts of what came before the recent outcomes. */
function before(recent, counts, yes, all) {
  return { yes: yes - recent.filter(counts).length, all: all - recent.length };
}

/** The drift alarm: a bet against "no worse than certified", which closes the channel when it has won enough. */
function alarm({ labels, wealth }) {
  return `${count(labels, "judged answer")}, drift alarm at ${wealth.toFixed(2)}`;
}

function channel(status) {
  const open = status.open ? "open" : "closed";
  const title = el("strong", {}, CHANNELS[status.channel] ?? status.channel);
  const certified = typeof status.alpha === "number" ? certificateWords(status) : null;
  const id = status.certificate ? el("code", {}, status.certificate.slice(0, 8)) : null;
  return el(
    "li",
    {},
    el("p", {}, title, " ", el("span", { class: `state ${open}` }, open)),
    certified ? el("p", { class: "note" }, certified, " ", id) : null,
    status.reason ? el("p", { class: "note" }, status.reason) : null,
    status.labels ? el("p", { class: "note" }, alarm(status)) : null,
  );
}
