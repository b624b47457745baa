// Login, logout, and which view is shown: the fragment of the URL names it.

import { h, say } from "./dom.js";
import { entries } from "./entries.js";
import { entry } from "./entry.js";
import { overview } from "./overview.js";
import { playground } from "./playground.js";
import { review } from "./review.js";
import { logIn, logOut, resume } from "./server.js";

const VIEWS = { overview, entries, entry, playground, review };
const element = (id) => document.getElementById(id);
const form = element("log-in");
const navigation = document.querySelector("nav");
let leave = () => {};

// Shows the view that the URL names, in place of the present one. A view returns what ends it.
function show({ focus = true } = {}) {
  const [name, ...rest] = location.hash.slice(1).split("/");
  if (!form.hidden || name === "main") return;
  const view = VIEWS[name] ? name : "overview";
  leave();
  for (const link of navigation.querySelectorAll("a")) {
    const isShown = link.hash === `#${view === "entry" ? "entries" : view}`;
    if (isShown) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const root = h("div", { class: view });
  element("view").replaceChildren(root);
  leave = VIEWS[view](root, rest.join("/")) ?? (() => {});
  const title = root.querySelector("h1");
  document.title = `${title.textContent} – Reprise`;
  title.tabIndex = -1;
  if (focus) title.focus();
}

function setLoggedIn(isIn) {
  form.hidden = isIn;
  navigation.hidden = !isIn;
  element("log-out").hidden = !isIn;
  element("refused").textContent = "";
  if (isIn) return;
  leave();
  leave = () => {};
  element("view").replaceChildren();
  element("token").focus();
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = element("token");
  element("refused").textContent = "";
  try {
    await logIn(token.value);
  } catch (refused) {
    element("refused").textContent = refused.message;
    token.focus();
    return;
  }
  token.value = "";
  setLoggedIn(true);
  show();
});

element("log-out").addEventListener("click", async () => {
  try {
    await logOut();
  } catch (refused) {
    if (refused.status !== 401) {
      say(refused.message, { isBad: true });
      return;
    }
  }
  location.reload(); // nothing that was shown stays in memory
});

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  element("main").focus();
});
addEventListener("hashchange", () => show());
addEventListener("logged-out", () => {
  if (form.hidden) setLoggedIn(false);
});

try {
  await resume();
  setLoggedIn(true);
  show({ focus: false });
} catch (refused) {
  setLoggedIn(false);
  if (refused.status !== 401) element("refused").textContent = refused.message;
}
