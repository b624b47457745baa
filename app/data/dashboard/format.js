// Numbers, shares, durations and ages as texts.

const whole = new Intl.NumberFormat("en");

export const count = (value) => whole.format(value);

// A number of things, as in "1 pair" and "2 pairs".
export const counted = (value, thing) => `${count(value)} ${thing}${value === 1 ? "" : "s"}`;

export const share = (value, digits = 1) =>
  value === null || value === undefined ? "–" : `${(100 * value).toFixed(digits)} %`;

export const ratio = (part, all) => (all ? share(part / all) : "–");

export const fixed = (value, digits = 4) =>
  value === null || value === undefined ? "–" : value.toFixed(digits);

export const dollars = (value) => `$${value.toFixed(value && Math.abs(value) < 1 ? 4 : 2)}`;

export function milliseconds(value) {
  if (value === undefined) return "–";
  if (value >= 1000) return `${(value / 1000).toFixed(1)} s`;
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
}

// A duration in the largest unit that fits.
export function span(seconds) {
  const units = [["d", 86400], ["h", 3600], ["min", 60]];
  for (const [unit, size] of units) {
    if (Math.abs(seconds) >= size) return `${Math.round(seconds / size)} ${unit}`;
  }
  return `${Math.round(seconds)} s`;
}

// The beginning of a text, on one line.
export function shortened(text, most = 160) {
  const line = (text ?? "").replace(/\s+/g, " ").trim();
  return line.length <= most ? line : `${line.slice(0, most - 1)}…`;
}
