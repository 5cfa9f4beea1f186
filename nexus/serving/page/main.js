// Where the page begins: it joins the parts, and asks for the key when the server wants one.

import { setKey } from "./api.js";
import { startChat } from "./chat.js";
import { $, announce } from "./dom.js";
import { refreshLive, startLive } from "./live.js";
import { refreshMemory, startMemory } from "./memory.js";
import { startViews } from "./views.js";

async function begin() {
  await refreshLive();
  if (document.body.dataset.memory === "no") return;
  try {
    await refreshMemory();
  } catch (error) {
    if (error.status !== 401) announce(error.message, true);
  }
}

function startKey() {
  const dialog = $("key-dialog");
  document.addEventListener("key-wanted", (event) => {
    $("key-wrong").hidden = !event.detail;
    $("key-open").hidden = false;
    if (!dialog.open) dialog.showModal();
  });
  $("key-open").addEventListener("click", () => dialog.showModal());
  $("key-form").addEventListener("submit", () => {
    setKey($("key").value);
    $("key").value = "";
    begin();
  });
}

startViews();
startKey();
startMemory();
startLive();
startChat();
begin();
