// Drawings in SVG. Each tells in words what it shows; tables beside them hold the figures.

import { svg } from "./dom.js";

const WIDTH = 600;
const HEIGHT = 120;

// Returns lines over time. `series` are lists of numbers, as long as each other, each with a `name`.
export function lines(series, most, label) {
  const length = Math.max(...series.map(({ values }) => values.length), 2);
  const top = Math.max(most, ...series.flatMap(({ values }) => values)) || 1;
  const point = (value, at) =>
    `${((at * WIDTH) / (length - 1)).toFixed(1)},${(HEIGHT - 4 - (value / top) * (HEIGHT - 8)).toFixed(1)}`;
  const drawn = series.map(({ name, values }) =>
    svg("polyline", { class: `line ${name}`, points: values.map(point).join(" ") }),
  );
  const frame = { class: "lines", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label };
  const base = svg("line", { class: "base", x1: 0, x2: WIDTH, y1: HEIGHT - 4, y2: HEIGHT - 4 });
  return svg("svg", { ...frame, preserveAspectRatio: "none" }, base, drawn);
}

// Returns one bar of parts side by side. `parts` are pairs of a name and a number.
export function stacked(parts, label) {
  const all = parts.reduce((sum, [, value]) => sum + value, 0) || 1;
  let x = 0;
  const drawn = parts.map(([name, value]) => {
    const width = (WIDTH * value) / all;
    const part = svg("rect", { class: `area ${name}`, x, width, y: 0, height: 16 });
    x += width;
    return part;
  });
  const frame = { class: "stacked", viewBox: `0 0 ${WIDTH} 16`, role: "img", "aria-label": label };
  return svg("svg", { ...frame, preserveAspectRatio: "none" }, drawn);
}

// Returns a share with its interval on a scale from 0 to `most`, and a mark at `limit`.
export function interval({ low, value, high }, limit, label) {
  const most = Math.max(high, limit * 1.5, 0.01);
  const x = (share) => (WIDTH * Math.min(Math.max(share, 0), most)) / most;
  const frame = { class: "interval", viewBox: `0 0 ${WIDTH} 24`, role: "img", "aria-label": label };
  return svg("svg", { ...frame, preserveAspectRatio: "none" },
    svg("line", { class: "base", x1: 0, x2: WIDTH, y1: 12, y2: 12 }),
    svg("rect", { class: "between", x: x(low), width: Math.max(x(high) - x(low), 2), y: 7, height: 10 }),
    svg("line", { class: "limit", x1: x(limit), x2: x(limit), y1: 0, y2: 24 }),
    svg("line", { class: "value", x1: x(value), x2: x(value), y1: 4, y2: 20 }));
}

// Returns a number on a scale from 0 to 1, and a mark at `limit` if there is one.
export function gauge(value, limit, label) {
  const frame = { class: "gauge", viewBox: "0 0 100 8", role: "img", "aria-label": label };
  const mark = limit === null ? null
    : svg("line", { class: "limit", x1: 100 * limit, x2: 100 * limit, y1: 0, y2: 8 });
  return svg("svg", { ...frame, preserveAspectRatio: "none" },
    svg("rect", { class: "rest", x: 0, y: 2, width: 100, height: 4 }),
    svg("rect", { class: "filled", x: 0, y: 2, width: 100 * Math.min(Math.max(value, 0), 1), height: 4 }),
    mark);
}
