// The overview: what the cache does, saves and gets wrong. It asks every few seconds, unless the page
// is hidden or paused.

import { interval, lines, stacked } from "./charts.js";
import { card, facts, h, put, table } from "./dom.js";
import { count, dollars, fixed, milliseconds, ratio, share, span } from "./format.js";
import { get } from "./server.js";

const EVERY = 3000; // milliseconds
const KEPT = 100; // samples
const KINDS = ["exact", "semantic", "stale", "miss", "partial", "bypass"];
const PARTS = ["store", "embedder", "verifier", "upstream"];
const CRITERIA = ["model", "namespace", "path"];
const SAYINGS = ["tier", "ttl", "max_error_rate", "max_distance", "stale_while_revalidate", "stale_if_error"];
const KEPT_IN = {
  process: "in this process, since it has started",
  file: "in the store's file, over restarts",
  fleet: "for all proxies on the store",
};

// How many requests came to what; hits are told apart by tier.
const outcomes = ({ requests, hits }) => ({
  exact: hits.exact,
  semantic: hits.semantic,
  stale: requests.STALE,
  miss: requests.MISS,
  partial: requests.PARTIAL,
  bypass: requests.BYPASS,
});

// Of which processes requests and failures are counted, and of which one what each keeps for itself.
const counted = ({ workers, counted_in: where }) =>
  workers === 1 ? "" : where === "workers" ? `of all ${workers} workers, ` : "of the worker that has answered, ";
const own = ({ workers }) => (workers === 1 ? "" : "of the worker that has answered: ");

const total = (counts) => Object.values(counts).reduce((sum, value) => sum + value, 0);
const named = (name, value) => h("span", { "data-figure": name }, value);

function headline(stats) {
  const { requests, savings, audit } = stats;
  const all = total(requests);
  const { semantic } = audit;
  const big = (title, value, below) =>
    h("div", { class: "big" }, h("p", { class: "title" }, title), h("p", { class: "value" }, value),
      h("p", { class: "quiet" }, below));
  return h("section", { class: "headline", "aria-label": "In short" },
    big("Hit ratio", named("hit-ratio", ratio(requests.HIT, all)),
      [named("requests.HIT", count(requests.HIT)), " of ", named("requests", count(all)), " requests"]),
    big("Saved", named("savings.net_usd", dollars(savings.net_usd)),
      `${count(savings.output_tokens)} tokens, ${span(savings.seconds)} of waiting`),
    big("Wrong by meaning", named("audit.semantic", share(semantic.share)),
      semantic.of ? `${semantic.wrong} of ${semantic.of} audited, ${share(semantic.low)} to ${share(semantic.high)}`
        : "no hit was audited"),
    big("Stored", named("entries", stats.entries ? count(total(stats.entries)) : "–"),
      stats.entries ? Object.entries(stats.entries).map(([kind, n]) => `${kind.replace("_", " ")} ${count(n)}`).join(", ")
        : "the store does not say"));
}

function requestsCard(stats) {
  const counts = outcomes(stats);
  const all = total(counts);
  const rows = KINDS.map((kind) => [
    [h("span", { class: `swatch ${kind}`, "aria-hidden": "true" }), kind],
    named(`outcome.${kind}`, count(counts[kind])), ratio(counts[kind], all),
  ]);
  const label = KINDS.map((kind) => `${kind} ${ratio(counts[kind], all)}`).join(", ");
  return [stacked(KINDS.map((kind) => [kind, counts[kind]]), label),
    table(`${counted(stats)}since the start`, ["outcome", "requests", "share"], rows)];
}

function latencyCard(stats) {
  const { latency_ms: latency } = stats;
  const rows = KINDS.filter((kind) => latency[kind]).map((kind) => {
    const { p50, p90, p99, of } = latency[kind];
    return [kind, milliseconds(p50), milliseconds(p90), milliseconds(p99), count(of)];
  });
  if (!rows.length) return h("p", { class: "quiet" }, "No request yet.");
  return table(`${own(stats)}the latest thousand of each, to the last byte`, ["outcome", "p50", "p90", "p99", "of"], rows);
}

function savingsCard({ savings, kept_in: keptIn }) {
  const { spent } = savings;
  const models = Object.entries(savings.models).sort(([, a], [, b]) => b.hits - a.hits).slice(0, 8);
  return [
    facts([
      ["tokens in, out", `${count(savings.input_tokens)}, ${count(savings.output_tokens)}`],
      ["price of hits", named("savings.usd", dollars(savings.usd))],
      ["less embedding", dollars(spent.embedding.usd)],
      ["less audits", dollars(spent.audit.usd)],
      ["without a price", savings.unpriced_hits ? `${count(savings.unpriced_hits)} hits` : ""],
      ["counted", KEPT_IN[keptIn]],
    ]),
    models.length > 0 && table("by model", ["model", "hits", "price", "time"],
      models.map(([model, one]) => [model, count(one.hits), dollars(one.usd), span(one.seconds)])),
  ];
}

function auditCard({ audit, compared, in_force: force }) {
  const tier = (name) => {
    const { wrong, of, share: value, low, high } = audit[name];
    if (!of) return h("p", { class: "quiet" }, `${name}: no hit was audited.`);
    const text = `${name}: ${wrong} of ${of} wrong, ${share(value)} [${share(low)}, ${share(high)}]`;
    return [h("p", {}, text), interval({ low, value, high }, force.max_error_rate, text)];
  };
  const kept = total(compared.exact) + total(compared.semantic);
  return [
    tier("semantic"), tier("exact"),
    facts([
      ["audited", audit.rate ? `${share(audit.rate)} of the hits` : "nothing: set REPRISE_AUDIT_RATE"],
      ["wrong beyond repeats", audit.excess_wrong && named("audit.excess", share(audit.excess_wrong.value))],
      ["may be wrong (the dial)", share(force.max_error_rate)],
      ["kept back and compared", kept ? count(kept) : ""],
    ]),
  ];
}

function partsCard(stats) {
  const { degraded, failures } = stats;
  const rows = PARTS.map((part) => {
    const isDown = degraded.includes(part);
    const state = part === "upstream" ? "–" : isDown ? "left alone" : "in use";
    return [part, h("span", { class: isDown ? "bad" : "good", "data-figure": `part.${part}` }, state),
      named(`failures.${part}`, count(failures[part] ?? 0))];
  });
  const caption = `failures ${counted(stats)}since the start; a part that keeps failing is left alone for a while`;
  return table(caption, ["part", "is", "failures"], rows);
}

function forceCard(stats) {
  const force = stats.in_force;
  const level = stats.audit.caution;
  const rules = force.rules.map((rule) => {
    const meets = CRITERIA.filter((by) => rule[by].length).map((by) => `${by} ${rule[by].join(", ")}`);
    const says = SAYINGS.filter((name) => rule[name] !== null).map((name) => `${name} ${rule[name]}`);
    return [rule.name, `${meets.join("; ") || "all"}: ${says.join(", ")}`];
  });
  return [
    facts([
      ["mode", named("mode", force.mode)],
      ["shares answers", force.isolation],
      ["dial", named("dial", String(force.max_error_rate))],
      ["line of the verifier", force.min_probability === null ? "no verifier" : fixed(force.min_probability)],
      ["farthest distance", String(force.max_distance)],
      ["lifetime", span(force.ttl)],
      ["caution", level ? `level ${level} of 3: stricter than the settings` : "none"],
      ["embedder", `${stats.embedder.name}, ${stats.embedder.dimensions} dimensions`],
      ["store", stats.store ? String(stats.store.kind ?? "") : "does not answer"],
      ["workers", named("workers", count(stats.workers))],
      ["up for", span(stats.uptime)],
      ["version", stats.version],
    ]),
    rules.length > 0 && [h("h3", {}, "Rules, of which the first that meets a request counts"), facts(rules)],
  ];
}

// The rates of requests since the page was opened, from the counts at each look.
class Rates {
  constructor() {
    this.samples = [];
  }

  add(stats) {
    this.samples.push({ at: performance.now(), uptime: stats.uptime, ...outcomes(stats) });
    if (this.samples.length > KEPT + 1) this.samples.shift();
  }

  of(kind) {
    return this.samples.slice(1).map((sample, at) => {
      const before = this.samples[at];
      const seconds = (sample.at - before.at) / 1000;
      return Math.max(0, sample[kind] - before[kind]) / (seconds || 1);
    });
  }

  drawn() {
    const series = ["exact", "semantic", "stale", "miss"].map((name) => ({ name, values: this.of(name) }));
    const latest = series.map(({ name, values }) => `${name} ${(values.at(-1) ?? 0).toFixed(1)}`).join(", ");
    const legend = h("p", { class: "quiet legend" },
      series.map(({ name, values }) => h("span", {}, h("span", { class: `swatch ${name}`, "aria-hidden": "true" }),
        `${name} ${(values.at(-1) ?? 0).toFixed(1)}`)),
      h("span", {}, `the top is ${Math.max(1, ...series.flatMap(({ values }) => values)).toFixed(1)}`));
    return [lines(series, 1, `Requests a second: ${latest}`), legend];
  }
}

export function overview(root) {
  const rates = new Rates();
  const short = h("div", {});
  const state = h("p", { class: "quiet", id: "state" }, "Asking…");
  const cards = [
    ["Requests", requestsCard], ["Latency", latencyCard], ["Wrong hits", auditCard],
    ["Savings", savingsCard], ["Parts", partsCard], ["In force", forceCard],
  ].map(([title, draw]) => ({ place: h("div", {}), title, draw }));
  const chart = h("div", {});
  let isPaused = false;
  let timer = 0;
  let hasLeft = false;
  const pause = h("button", { type: "button", "aria-pressed": "false", onclick: toggle }, "Pause");
  root.append(
    h("div", { class: "row" }, h("h1", {}, "Overview"), pause), state, short,
    h("div", { class: "cards" }, card("Requests a second, now", chart),
      cards.map(({ title, place }) => card(title, place))));

  async function look() {
    clearTimeout(timer);
    if (isPaused || document.hidden || hasLeft) return;
    try {
      const stats = await get("stats");
      if (hasLeft) return;
      rates.add(stats);
      put(short, headline(stats));
      put(chart, rates.drawn());
      for (const { place, draw } of cards) put(place, draw(stats));
      state.className = stats.degraded.length ? "bad" : "quiet";
      state.textContent = stats.degraded.length
        ? `Down: ${stats.degraded.join(", ")}. The upstream answers in its place.`
        : `Everything works. Updated at ${new Date().toLocaleTimeString()}.`;
    } catch (refused) {
      state.className = "bad";
      state.textContent = refused.message;
    }
    timer = setTimeout(look, EVERY);
  }

  function toggle() {
    isPaused = !isPaused;
    pause.setAttribute("aria-pressed", String(isPaused));
    look();
  }

  document.addEventListener("visibilitychange", look);
  look();
  return () => {
    hasLeft = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", look);
  };
}
