// One entry: its question and answer as text, what is known of it, and what can be done with it.

import { card, facts, h, say } from "./dom.js";
import { count, fixed, span } from "./format.js";
import { takeLeave } from "./leaving.js";
import { get, post } from "./server.js";

const SAID = new Set(["content", "text", "arguments"]);
const THOUGHTS = new Set(["reasoning", "thinking", "redacted_thinking"]);
const STANDING = {
  exact_only: "From now on it serves exact matches only.",
  removed: "It was reported wrong twice and is removed.",
  trusted: "It is trusted again.",
};

// The texts of an answer of any dialect, in order, without the model's thoughts.
function said(value) {
  if (Array.isArray(value)) return value.flatMap(said);
  if (value === null || typeof value !== "object" || THOUGHTS.has(value.type)) return [];
  const own = Object.entries(value).filter(([name, text]) => SAID.has(name) && typeof text === "string" && text);
  return [...own.map(([, text]) => text), ...Object.values(value).flatMap(said)];
}

export function entry(root, id) {
  const title = h("h1", {}, "Entry");
  const place = h("div", {});
  root.append(h("p", {}, h("a", { href: "#entries" }, "All entries")), title, place);
  let hasLeft = false;

  async function show() {
    try {
      const told = await get(`entries/${encodeURIComponent(id)}`);
      if (!hasLeft) place.replaceChildren(...drawn(told));
    } catch (refused) {
      place.replaceChildren(h("p", { class: "bad", role: "alert" }, refused.message));
    }
  }

  async function act(path, body, tell) {
    try {
      const told = await post(path, body);
      say(tell(told));
      if (told.standing === "removed") location.hash = "#entries";
      else await show();
    } catch (refused) {
      say(refused.message, { isBad: true });
    }
  }

  function buttons(told) {
    const button = (text, work, more = {}) => h("button", { type: "button", onclick: work, ...more }, text);
    const judge = (correct) => () =>
      act("feedback", { id: told.id, correct }, ({ standing }) => STANDING[standing]);
    const pin = () => act("pin", { id: told.id, pinned: !told.pinned },
      ({ pinned }) => (pinned ? "It is pinned." : "It is not pinned any more."));
    const goes = () => {
      takeLeave(told.id);
      location.hash = "#entries";
    };
    return h("div", { class: "row buttons", role: "group", "aria-label": "What to do with it" },
      button("The answer is wrong", judge(false), { id: "wrong" }),
      told.disputed && button("The answer is right", judge(true), { id: "right" }),
      button(told.pinned ? "Unpin" : "Pin", pin, { id: "pin" }),
      button("Delete", goes, { id: "delete", class: "danger" }));
  }

  // The questions it answered, as far as this process knows.
  function answered({ answered: wordings, exact_hits: exact, hits }) {
    const told = ({ distance, probability, asked_at: at, count: times }) => [
      `distance ${fixed(distance)}`, probability === null ? "no verifier" : `probability ${fixed(probability)}`,
      `${span(Math.max(0, Date.now() / 1000 - at))} ago`, times > 1 && `${count(times)} times`,
    ].filter(Boolean).join(" · ");
    return card("Questions it answered",
      h("p", { class: "quiet" }, `Hits: ${count(exact)} exact, ${count(hits - exact)} by meaning. `
        + "Counted in this process, since it has started."),
      wordings.length > 0 && h("ol", { class: "entries", id: "answered" }, wordings.map((one) =>
        h("li", {}, one.asked, h("p", { class: "quiet" }, told(one))))),
      wordings.length < hits - exact && h("p", { class: "quiet" },
        "Each wording shows its latest hit. The process keeps the latest thousand wordings of all entries."));
  }

  function drawn(told) {
    return [
      card("Question", h("pre", { class: "text", id: "question", tabindex: 0 }, told.prompt ?? "(no text)")),
      card("Answer",
        h("pre", { class: "text", id: "answer", tabindex: 0 }, said(told.response).join("\n\n") || "(no text)"),
        h("details", {}, h("summary", {}, "Stored response"),
          h("pre", { class: "text", tabindex: 0 }, JSON.stringify(told.response, null, 2)))),
      buttons(told),
      answered(told),
      card("Details", facts([
        ["model", told.model], ["API", told.dialect], ["namespace", told.namespace],
        ["tags", told.tags.join(", ")],
        ["age", `${span(told.age)}, since ${new Date(1000 * told.stored_at).toLocaleString()}`],
        ["fresh for", told.ttl < 0 ? "stale" : span(told.ttl)],
        ["size", `${count(told.bytes)} bytes`],
        ["standing", told.disputed ? "reported wrong: serves exact matches only" : "trusted"],
        ["pinned", told.pinned ? "yes" : ""],
        ["id", h("code", {}, told.id)],
      ])),
    ];
  }

  show();
  return () => {
    hasLeft = true;
  };
}
