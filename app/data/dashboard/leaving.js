// Entries that are about to be deleted: the proxy is told after some seconds, unless that is undone.

import { h, say } from "./dom.js";
import { remove } from "./server.js";

const PATIENCE = 8; // seconds
const timers = new Map();

export const isLeaving = (id) => timers.has(id);

// Deletes an entry after some seconds in which that can be undone.
export function takeLeave(id) {
  const undo = h("button", { type: "button", onclick: stay }, "Undo");
  const message = say(`The entry goes in ${PATIENCE} seconds.`, { action: undo, seconds: 0 });

  function stay() {
    clearTimeout(timers.get(id));
    timers.delete(id);
    message.remove();
    say("The entry stays.");
  }

  timers.set(id, setTimeout(async () => {
    message.remove();
    await send(id);
  }, 1000 * PATIENCE));
}

async function send(id, more) {
  timers.delete(id);
  try {
    await remove(`entries/${id}`, more);
    say("The entry is deleted.");
  } catch (refused) {
    say(refused.message, { isBad: true });
  }
}

// Whoever closes the page has not undone it.
addEventListener("pagehide", () => {
  for (const [id, timer] of timers) {
    clearTimeout(timer);
    send(id, { keepalive: true });
  }
});
