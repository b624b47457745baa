// The list of entries: in an order, or searched by words or by meaning.

import { field, h, say } from "./dom.js";
import { count, counted, fixed, shortened, span } from "./format.js";
import { isLeaving } from "./leaving.js";
import { post } from "./server.js";

const WAYS = [
  ["newest", "the newest"], ["most-used", "the most used"], ["disputed", "reported wrong"],
  ["text", "with these words"], ["meaning", "about the same"],
];
const WITH_TEXT = new Set(["text", "meaning"]);

function line(entry) {
  const told = [
    entry.model, `${span(entry.age)} old`, entry.ttl < 0 ? "stale" : `fresh for ${span(entry.ttl)}`,
    counted(entry.hits, "hit"), entry.distance !== undefined && `distance ${fixed(entry.distance)}`,
    entry.namespace && `namespace ${entry.namespace}`, ...entry.tags.map((tag) => `#${tag}`),
  ];
  const marks = [entry.disputed && "reported wrong", entry.pinned && "pinned", isLeaving(entry.id) && "being deleted"];
  return h("li", {},
    h("a", { href: `#entry/${entry.id}` }, shortened(entry.prompt) || "(no text)"),
    h("p", { class: "quiet" }, told.filter(Boolean).join(" · "),
      marks.filter(Boolean).map((mark) => [" ", h("span", { class: "mark" }, mark)])));
}

export function entries(root) {
  const way = h("select", { id: "by", onchange: adapt }, WAYS.map(([value, text]) => h("option", { value }, text)));
  const text = h("input", { id: "text", type: "search", autocomplete: "off" });
  const model = h("input", { id: "model", autocomplete: "off" });
  const tag = h("input", { id: "tag", autocomplete: "off" });
  const namespace = h("input", { id: "namespace", autocomplete: "off" });
  const words = field("Text", text);
  const told = h("p", { class: "quiet", role: "status" });
  const list = h("ol", { class: "entries" });
  const form = h("form", { class: "filters card", role: "search", onsubmit: search },
    field("Show", way), words, field("Model", model), field("Tag", tag), field("Namespace", namespace),
    h("button", {}, "Show"));
  root.append(h("h1", {}, "Entries"), form, told, list);

  function adapt() {
    words.hidden = !WITH_TEXT.has(way.value);
    text.required = !words.hidden;
  }

  async function search(event) {
    event?.preventDefault();
    const query = { by: way.value, limit: 100 };
    if (WITH_TEXT.has(way.value)) query.text = text.value;
    for (const [name, input] of Object.entries({ model, tag, namespace })) {
      if (input.value) query[name] = input.value;
    }
    told.textContent = "Searching…";
    try {
      const found = await post("search", query);
      list.replaceChildren(...found.entries.map(line));
      const rest = found.searched_all ? "" : " The store has more entries than were searched.";
      told.textContent = `${count(found.entries.length)} shown of ${count(found.searched)} searched.${rest}`;
    } catch (refused) {
      told.textContent = "";
      say(refused.message, { isBad: true });
    }
  }

  adapt();
  search();
}
