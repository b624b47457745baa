// Makes elements. What is not an element becomes a text node: no text is ever read as HTML.

const SVG = "http://www.w3.org/2000/svg";

const isShown = (child) => child !== null && child !== undefined && child !== false;

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter(isShown));
  return element;
}

// Puts children, in lists of any depth, in place of those that an element has.
export function put(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter(isShown));
}

// Returns an HTML element. Attributes named `on…` are listeners; those without a value are left out.
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

// Returns an SVG element.
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

// Returns a table. `head` are the titles of its columns, `rows` lists of cells; the first is a title.
export function table(caption, head, rows) {
  const titles = head.map((title, at) => h("th", { scope: "col", class: at ? "number" : null }, title));
  const lines = rows.map(([first, ...cells]) =>
    h("tr", {}, h("th", { scope: "row" }, first), cells.map((cell) => h("td", { class: "number" }, cell))),
  );
  return h("table", {},
    h("caption", {}, caption), h("thead", {}, h("tr", {}, titles)), h("tbody", {}, lines));
}

// Returns a list of facts: pairs of a name and a value. Those without a value are left out.
export function facts(pairs) {
  const told = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h("dl", {}, told.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

// Returns a card with a heading.
export function card(title, ...children) {
  return h("section", { class: "card", "aria-label": title }, h("h2", {}, title), children);
}

// Returns a labelled field: an input, a textarea or a select.
export function field(label, control, help = "") {
  const id = control.id;
  const told = help && h("span", { id: `${id}-help`, class: "quiet" }, help);
  if (help) control.setAttribute("aria-describedby", `${id}-help`);
  return h("div", { class: "field" }, h("label", { for: id }, label), control, told);
}

// Shows a message that screen readers tell, in place of the one before; with `seconds` it goes by itself.
export function say(text, { action = null, seconds = 8, isBad = false } = {}) {
  const message = h("p", { class: isBad ? "message bad" : "message" }, text, action);
  document.getElementById("messages").replaceChildren(message);
  if (seconds) setTimeout(() => message.remove(), 1000 * seconds);
  return message;
}
