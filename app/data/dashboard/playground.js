// The playground: how a request would be answered and why, and what another dial would do.

import { gauge } from "./charts.js";
import { card, facts, field, h, say } from "./dom.js";
import { fixed, shortened, span } from "./format.js";
import { get, post } from "./server.js";

const REASONS = {
  verifier: "the verifier gives too low a probability",
  distance: "distance too great",
  disputed: "somebody called it wrong",
  stale: "stale for too long",
  tags: "lacks a tag of the request",
  usage: "has no usage figures",
  rank: "nearer ones went before it",
  mode: "kept back by the mode",
  caution: "too doubtful while audits find too much wrong",
  directives: "the request's Cache-Control",
  "not-shared": "too few have asked it",
};
// Those whom a lower line would let answer, or a higher one would stop.
const BY_LINE = new Set([null, "verifier", "caution"]);

const reason = ({ answers, refused_by: by, guards }) => {
  if (answers) return "answers";
  if (by === null) return "lies behind the one that answers";
  return REASONS[by] ?? `guard: ${guards?.length ? guards.join(", ") : by}`;
};

// The candidate that would answer if so much probability were needed, or null.
function chosenAt(line, nearest) {
  const fit = nearest.filter((one) => BY_LINE.has(one.refused_by) && one.probability !== null && one.probability >= line);
  return fit.reduce((best, one) => (best === null || one.probability > best.probability ? one : best), null);
}

function decision(told) {
  const { outcome, tier, bypass } = told;
  if (outcome === "HIT") return tier === "exact" ? "Hit: the very same request is stored." : "Hit by meaning.";
  if (outcome === "STALE") return "A stale answer, which is renewed behind it.";
  if (outcome === "REFUSED") return "504: only what is stored was asked for, and nothing fits.";
  if (bypass) return `Past the cache: ${bypass}.`;
  return told.shadow ? `The upstream answers. Kept back: ${told.shadow}.` : "Miss: the upstream answers.";
}

function candidate(one, line) {
  const label = one.probability === null ? "no probability" : `probability ${fixed(one.probability)}`;
  return h("li", { class: one.answers ? "chosen" : null, "data-entry": one.id },
    h("a", { href: `#entry/${one.id}` }, shortened(one.prompt)),
    h("p", { class: "quiet" }, `distance ${fixed(one.distance)} · ${label} · ${span(one.age)} old · `,
      h("span", { class: one.answers ? "good" : "mark" }, reason(one))),
    one.probability !== null && gauge(one.probability, line, label));
}

// The slider: over the dials that were measured, where they are known, else over the line itself.
function slider(told, dials) {
  const { nearest, limits } = told;
  const known = [...dials].sort(([a], [b]) => a - b);
  const present = limits.min_probability;
  const whatIf = h("p", { role: "status", id: "what-if" });
  const at = known.findIndex(([, line]) => line <= present);
  const input = known.length
    ? h("input", { id: "dial", type: "range", min: 0, max: known.length - 1, step: 1, value: at < 0 ? 0 : at, oninput: recompute })
    : h("input", { id: "dial", type: "range", min: 0, max: 1, step: 0.001, value: Math.min(present, 1), oninput: recompute });

  function recompute() {
    const [rate, line] = known.length ? known[Number(input.value)] : [null, Number(input.value)];
    const chosen = chosenAt(line, nearest);
    const dial = rate === null ? `At a probability of ${fixed(line)}` : `With the dial at ${rate} (probability ${fixed(line)})`;
    input.setAttribute("aria-valuetext", dial);
    whatIf.textContent = chosen
      ? `${dial}, “${shortened(chosen.prompt, 80)}” would answer.` : `${dial}, none of them would answer.`;
  }

  recompute();
  return card("What would another dial do?", field("Dial", input), whatIf);
}

function drawn(told, dials) {
  const { limits, nearest, elsewhere } = told;
  const line = limits.min_probability;
  const differs = elsewhere?.differs;
  return [
    card("Decision",
      h("p", { class: "verdict", id: "decision" }, decision(told)),
      facts([
        ["Cache-Status", told.cache_status && h("code", {}, told.cache_status)],
        ["rule", told.rule], ["by meaning", told.key?.exact_only ? "no: it has no text for that" : ""],
        ["farthest distance", limits.max_distance === null ? "" : String(limits.max_distance)],
        ["least probability", line === null ? "no verifier" : fixed(line)],
        ["did not answer", told.unavailable.join(", ")],
      ])),
    told.exact && card("Stored under the very key", h("ul", { class: "entries" },
      h("li", {}, h("a", { href: `#entry/${told.exact.id}` }, shortened(told.exact.prompt)),
        h("p", { class: "quiet" }, reason(told.exact))))),
    nearest && card("Candidates", nearest.length
      ? h("ol", { class: "entries" }, nearest.map((one) => candidate(one, line)))
      : h("p", { class: "quiet" }, "Nothing agrees in everything but the last question.")),
    nearest && nearest.some((one) => one.probability !== null) && line !== null && slider(told, dials),
    differs && card("Stored elsewhere",
      h("p", {}, `The nearest entry of another partition differs in: ${differs.join(", ")}.`),
      elsewhere.entry && h("a", { href: `#entry/${elsewhere.entry.id}` }, shortened(elsewhere.entry.prompt))),
    told.key && card("What must match exactly", h("details", {}, h("summary", {}, "Parts of the key"),
      facts(Object.entries(told.key.parts).map(([name, digest]) => [name, h("code", {}, digest)])))),
  ].filter(Boolean);
}

export function playground(root) {
  const text = (id, more = {}) => h("input", { id, autocomplete: "off", ...more });
  const question = h("textarea", { id: "question", rows: 3, required: true });
  const system = h("textarea", { id: "system", rows: 2 });
  const model = text("model", { required: true, value: "gpt-4o-mini" });
  const namespace = text("namespace");
  const key = text("key", { type: "password", autocomplete: "off" });
  const result = h("div", { class: "cards", "aria-live": "polite" });
  const form = h("form", { class: "card", onsubmit: explain },
    field("Question", question), field("System prompt", system),
    h("div", { class: "filters" }, field("Model", model), field("Namespace", namespace),
      field("Caller's key", key, "As the caller sends it: callers share nothing unless told to.")),
    h("button", {}, "Explain"));
  root.append(h("h1", {}, "Playground"),
    h("p", { class: "quiet" }, "Nothing is stored, counted or sent upstream. The embedder and the verifier are asked."),
    form, result);

  async function explain(event) {
    event.preventDefault();
    const messages = [{ role: "user", content: question.value }];
    if (system.value) messages.unshift({ role: "system", content: system.value });
    const headers = { "content-type": "application/json" };
    if (key.value) headers.authorization = `Bearer ${key.value}`;
    if (namespace.value) headers["x-cache-namespace"] = namespace.value;
    try {
      const [told, stats] = await Promise.all([
        post("explain", { request: { model: model.value, messages }, headers }), get("stats"),
      ]);
      result.replaceChildren(...drawn(told, stats.in_force.dials));
    } catch (refused) {
      say(refused.message, { isBad: true });
    }
  }
}
