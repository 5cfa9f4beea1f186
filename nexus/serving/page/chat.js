// The conversation. The one idea: a turn is one article that fills while the answer streams, and is announced whole.

import { badge, grounds } from "./answer.js";
import { chat, post } from "./api.js";
import { $, announce, attempt, count, el, replace } from "./dom.js";
import { refreshLive } from "./live.js";
import { correctFact, refreshMemory, teachThis } from "./memory.js";

const SAMPLES = [
  "Every reptile is an animal. Rex is a reptile. Is Rex an animal?",
  "Ann is taller than Bob. Carl is taller than Bob. Is Ann taller than Carl?",
  "When does the shop open?",
];
let turns = []; // as the server wants them: {role, content}
let stop = null; // of the answer under way

export function startChat() {
  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    if (stop) stop.abort();
    else ask($("question").value.trim());
  });
  $("question").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    if (!stop) $("ask").requestSubmit();
  });
  $("question").addEventListener("input", grow);
  $("temperature").addEventListener("input", () => ($("temperature-now").value = $("temperature").value));
  $("anew").addEventListener("click", () => {
    anew();
    $("question").focus();
  });
  document.addEventListener("gate-found", () => ($("whole").checked = false), { once: true });
  anew();
}

function anew() {
  stop?.abort();
  turns = [];
  const samples = SAMPLES.map((text) => el("button", { type: "button", onclick: () => ask(text) }, text));
  replace($("log"), el("div", { class: "welcome" }, welcome(), el("div", { class: "samples" }, samples)));
}

function welcome() {
  const say = "It answers when it can stand behind the answer, shows what that rests on, and says so when it cannot.";
  return [el("h2", {}, "Ask. Teach. Check."), el("p", {}, say)];
}

async function ask(question) {
  if (!question || stop) return;
  if (!turns.length) replace($("log"));
  turns.push({ role: "user", content: question });
  $("question").value = "";
  grow();
  const turn = newTurn(question);
  const began = performance.now();
  working(new AbortController());
  try {
    const got = await follow(turn, began);
    turns.push({ role: "assistant", content: got.text });
    finish(turn, got);
  } catch (error) {
    turns.pop();
    failed(turn, error, question);
  } finally {
    turn.article.setAttribute("aria-busy", "false");
    working(null);
    refreshLive();
  }
}

/** Show pieces as they come; gives the whole with its extension field and usage. */
async function follow(turn, began) {
  const got = { text: "", nexus: null, tokens: 0, id: "", seconds: 0 };
  const body = { model: document.body.dataset.model, messages: $("whole").checked ? turns : turns.slice(-1) };
  body.temperature = Number($("temperature").value);
  body.max_tokens = Number($("length").value) || 512;
  for await (const chunk of chat(body, stop.signal)) {
    got.id = chunk.id;
    got.nexus = chunk.nexus ?? got.nexus;
    got.tokens = chunk.usage?.completion_tokens ?? got.tokens;
    const piece = chunk.choices[0]?.delta.content ?? "";
    if (!piece) continue;
    got.text += piece;
    const followed = atEnd();
    turn.said.append(piece);
    if (followed) toEnd();
  }
  got.seconds = (performance.now() - began) / 1000;
  return got;
}

function newTurn(question) {
  const said = el("div", { class: "said-text" });
  const article = el("article", { class: "answer", "aria-busy": "true", "aria-label": "Nexus" }, said);
  const asked = el("article", { class: "question", "aria-label": "You" }, question);
  $("log").append(asked, article);
  toEnd();
  return { asked, article, said };
}

function finish({ asked, article, said }, got) {
  const followed = atEnd();
  if (!got.text.trim()) said.append(el("em", {}, "The model said nothing."));
  if (got.nexus && !got.nexus.answered) article.classList.add("refusal");
  article.prepend(badge(got.nexus));
  const speed = got.tokens ? `${count(got.tokens, "token")} in ${got.seconds.toFixed(1)} s` : "";
  article.append(...grounds(got.nexus, got.text, speed).filter(Boolean), judge(got));
  if (followed) $("log").scrollTop = asked.offsetTop - 12; // the end where it fits, else the beginning
}

function failed({ article, said }, error, question) {
  const stopped = error.name === "AbortError";
  const text = stopped ? "Stopped." : error.message;
  article.classList.add("failed");
  said.append(el("p", { class: "failure" }, text));
  if (!stopped) announce(text, true);
  if (!$("question").value) $("question").value = question;
  grow();
}

/** Right or wrong: the judgement goes into the journal, and with it into the live risk. */
function judge(got) {
  const right = el("button", { type: "button" }, "✓ Right");
  const wrong = el("button", { type: "button" }, "✗ Wrong");
  const row = el("div", { class: "judge", role: "group", "aria-label": "Was this right?" }, right, wrong);
  if (got.nexus && !got.nexus.answered) return el("div", { class: "judge" }, teachButton());
  const send = (good) =>
    attempt([right, wrong], async () => {
      await post("/v1/nexus/feedback", { right: good, about: got.nexus?.id || got.id });
      const noted = el("span", { class: "noted" }, good ? "✓ Noted as right" : "✗ Noted as wrong");
      replace(row, noted, good ? null : mend(got));
      announce("Noted, thank you.");
      refreshMemory();
      refreshLive();
    });
  right.addEventListener("click", () => send(true));
  wrong.addEventListener("click", () => send(false));
  return row;
}

function mend(got) {
  const fact = got.nexus?.citations?.[0]?.fact;
  if (fact === undefined) return teachButton();
  return el("button", { type: "button", onclick: () => correctFact(fact) }, `Correct fact ${fact}`);
}

function teachButton() {
  return el("button", { type: "button", onclick: teachThis }, "Teach the answer");
}

function working(controller) {
  stop = controller;
  $("send").textContent = stop ? "Stop" : "Ask";
  $("send").classList.toggle("stop", Boolean(stop));
}

function grow() {
  const field = $("question");
  field.style.height = "auto";
  field.style.height = `${Math.min(field.scrollHeight + 2, 200)}px`;
}

/** Whether the reader sees the end; who has scrolled up is left there. */
function atEnd() {
  const { scrollHeight, scrollTop, clientHeight } = $("log");
  return scrollHeight - scrollTop - clientHeight < 60;
}

function toEnd() {
  $("log").scrollTop = $("log").scrollHeight;
}
