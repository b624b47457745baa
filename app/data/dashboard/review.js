// The review queue: pairs of questions to be called the same or different, by one key each.
// Labels stay in this page until they are exported: nothing is sent or stored.

import { card, facts, h, say } from "./dom.js";
import { count, counted, fixed } from "./format.js";
import { get } from "./server.js";

const HOW = {
  same: "one answer serves both",
  different: "they need different answers",
};
const labels = new Map(); // what was said, by pair; it outlives the view
let isSaved = true;

addEventListener("beforeunload", (event) => {
  if (!isSaved) event.preventDefault();
});

const nameOf = (pair) => `${pair.entry} ${pair.asked}`;

function downloaded() {
  const lines = [...labels.values()].map(({ pair, same }) => JSON.stringify({ a: pair.stored, b: pair.asked, same }));
  const url = URL.createObjectURL(new Blob(lines.map((line) => `${line}\n`), { type: "application/jsonl" }));
  h("a", { href: url, download: "pairs.jsonl" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
  isSaved = true;
  say(`Exported ${counted(lines.length, "pair")}.`);
}

// Answers that comparing has found to differ, as far as they are known.
function mistakes(pairs) {
  if (!pairs.length) return null;
  return card("Answers that were found to differ", h("ol", { class: "entries" }, pairs.map((pair) =>
    h("li", {},
      facts([["asked", pair.asked], ["stored", pair.stored], ["stored answer", pair.answer],
        ["upstream's answer", pair.upstreams_answer]]),
      h("p", { class: "quiet" }, `${pair.is_served ? "served" : "kept back"}, distance ${fixed(pair.distance)} · `,
        h("a", { href: `#entry/${pair.entry}` }, "the entry"))))));
}

export function review(root) {
  const told = h("p", { class: "quiet", id: "progress", role: "status" }, "Asking…");
  const place = h("div", { class: "pair card", tabindex: 0, role: "group", "aria-label": "Pair", hidden: true });
  const others = h("div", {});
  const back = h("button", { type: "button", onclick: undo }, "Take back (u)");
  const save = h("button", { type: "button", id: "export", onclick: downloaded }, "Export");
  let waiting = []; // pairs; those with answers are open comparisons
  let done = [];
  root.append(h("h1", {}, "Review"),
    h("p", { class: "quiet" }, "First come hits whose comparison gave no result, the latest first; then ",
      "pairs that the verifier has judged, the most doubtful first. All are of this process, since it has started. ",
      "With the pair in focus: ",
      h("kbd", {}, "s"), " same, ", h("kbd", {}, "d"), " different, ", h("kbd", {}, "k"), " skip, ",
      h("kbd", {}, "u"), " take back."),
    told, place, h("div", { class: "row buttons" }, back, save), others);
  place.addEventListener("keydown", ({ key, ctrlKey, metaKey, altKey }) => {
    if (ctrlKey || metaKey || altKey) return;
    const work = { s: () => judge(true), d: () => judge(false), k: skip, u: undo }[key.toLowerCase()];
    work?.();
  });

  function judge(same) {
    const [pair] = waiting;
    if (!pair) return;
    labels.set(nameOf(pair), { pair, same });
    isSaved = false;
    step();
  }

  function skip() {
    if (waiting.length) step();
  }

  function step() {
    done.push(waiting.shift());
    draw();
    place.focus();
  }

  function undo() {
    const pair = done.pop();
    if (!pair) return;
    labels.delete(nameOf(pair));
    waiting.unshift(pair);
    draw();
    place.focus();
  }

  function draw() {
    const [pair] = waiting;
    back.disabled = !done.length;
    save.disabled = !labels.size;
    save.textContent = `Export ${counted(labels.size, "pair")}`;
    told.textContent = pair
      ? `${counted(waiting.length, "pair")} left, ${count(labels.size)} judged.`
      : `No pair is left, ${count(labels.size)} judged.`;
    place.hidden = false;
    place.replaceChildren(...(pair ? drawn(pair) : [h("p", {}, "Nothing to review. The verifier, audits and shadow mode add pairs as requests come.")]));
  }

  // Facts about a pair besides its two questions.
  function known({ distance, probability, line, answers, is_served: isServed, upstreams_answer: answer }) {
    const told = probability === null ? "no verifier" : `probability ${fixed(probability)}`;
    const isOpen = answer !== undefined;
    return [`distance ${fixed(distance)}`, isOpen ? told : `${told}, ${fixed(line)} needed`,
      isOpen ? `${isServed ? "served" : "kept back"}, the comparison gave no result` : answers ? "would answer" : "refused",
    ].join(" · ");
  }

  function drawn(pair) {
    const choice = (text, work, id) => h("button", { type: "button", id, onclick: work }, text);
    return [
      h("p", { class: "title" }, "Stored"), h("pre", { class: "text", id: "stored" }, pair.stored),
      h("p", { class: "title" }, "Asked"), h("pre", { class: "text", id: "asked" }, pair.asked),
      pair.upstreams_answer !== undefined && facts([["stored answer", pair.answer || "(no text)"],
        ["upstream's answer", pair.upstreams_answer || "(no text)"]]),
      h("p", { class: "quiet" }, `${known(pair)} · `, h("a", { href: `#entry/${pair.entry}` }, "the entry")),
      h("div", { class: "row buttons" },
        choice(`Same (s): ${HOW.same}`, () => judge(true), "same"),
        choice(`Different (d): ${HOW.different}`, () => judge(false), "different"),
        choice("Skip (k)", skip, "skip")),
    ].filter(Boolean);
  }

  Promise.all([get("review"), get("report")]).then(([found, report]) => {
    waiting = [...found.open, ...found.pairs].filter((pair) => !labels.has(nameOf(pair)));
    draw();
    const wrong = mistakes(report.pairs);
    if (wrong) others.append(wrong);
  }).catch((refused) => {
    told.textContent = "";
    say(refused.message, { isBad: true });
  });
}
