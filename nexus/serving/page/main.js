// Where the page begins: it joins the parts, and asks for the key when the server wants one.

import { get, setKey } from "./api.js";
import { startChat } from "./chat.js";
import { $ } from "./dom.js";
import { refreshLive, startLive } from "./live.js";
import { refreshMemory, startMemory } from "./memory.js";
import { startViews } from "./views.js";

async function begin() {
  try {
    const models = await get("/v1/models");
    document.body.dataset.model = models.data[0].id;
    await refreshMemory();
  } catch (error) {
    $("facts").textContent = error.message;
  }
  await refreshLive();
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
