// Text and attributes in, elements out. Text from jobs is hostile: it only ever becomes a text node.

const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]+/g;
const SVG = "http://www.w3.org/2000/svg";

export const find = (id) => document.getElementById(id);

/** One line of text without control characters and marks that turn or hide text. */
export const plain = (text, longest = 2000) => {
  const clean = String(text ?? "").replace(UNSEEN, " ").trim();
  return clean.length > longest ? `${clean.slice(0, longest - 1)}…` : clean;
};

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
export const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

/** Write text only where it changed, so that a reader's selection and a screen reader are left in peace. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A table with a heading for each column; a cell is text or an element, and numbers stand at the right. */
export function table(caption, columns, rows) {
  const head = el("tr", {}, ...columns.map(([name, numeric]) => el("th", { scope: "col", class: numeric && "number" }, name)));
  const body = rows.map((cells) =>
    el("tr", {}, ...cells.map((cell, at) => el(at ? "td" : "th", at ? { class: columns[at][1] && "number" } : { scope: "row" }, cell))),
  );
  return el("table", {}, el("caption", { class: "unseen" }, caption), el("thead", {}, head), el("tbody", {}, ...body));
}
