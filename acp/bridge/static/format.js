// Numbers and times in, text with units out.

import { el, plain } from "./dom.js";

let ahead = 0;

/** Take the agent's clock for now: what it says is how long ago things were. */
export const setClock = (at) => {
  ahead = Date.parse(at) - Date.now();
};

/** A number with three significant digits or all of its whole part. */
export function number(value) {
  const size = Math.abs(value);
  const digits = size >= 100 || size === 0 ? 0 : Math.min(6, 2 - Math.floor(Math.log10(size)));
  return value.toLocaleString("en-US", { minimumFractionDigits: 0, maximumFractionDigits: Math.max(0, digits) });
}

export const ms = (value) => `${number(value)} ms`;
export const rps = (value) => `${number(value)} requests/s`;
export const usd = (value) => `$${value >= 100 || value === 0 ? number(value) : value.toPrecision(2)}`;
export const percent = (value, digits = 0) => `${(value * 100).toFixed(digits)} %`;
export const signed = (value) => `${value >= 0 ? "+" : "−"}${percent(Math.abs(value), 2)}`;
export const words = (slug) => String(slug).replaceAll("_", " ");

export const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** A strategy as the agent itself names it: `llama.cpp Q8_0, 1 thread, 4 slots`. */
export function strategyName(strategy) {
  const { engine, weight_format: format, importance_matrix: imatrix, accelerator, threads, max_sequences: slots } = strategy;
  const place = accelerator === "host" ? counted(threads, "thread") : `${strategy.replicas}x${strategy.count}x${accelerator}`;
  const { speculation = "none", draft = "" } = strategy;
  const ahead = speculation === "none" ? "" : `, ${speculation} ${draft.split("/").at(-1)}`.trimEnd();
  return plain(`${engine} ${format}${imatrix ? "+imatrix" : ""}, ${place}, ${counted(slots, "slot")}${ahead}`, 160);
}

/** Seconds as `0.8 s`, `12 s`, `3 min 20 s`, `2 h 5 min`. */
export function span(seconds) {
  if (seconds > 0 && seconds < 9.5) return `${number(seconds)} s`;
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const [large, small, names] = whole < 3600 ? [whole, 60, ["min", "s"]] : [whole / 60, 60, ["h", "min"]];
  const rest = Math.floor(large % small);
  return `${Math.floor(large / small)} ${names[0]}${rest ? ` ${rest} ${names[1]}` : ""}`;
}

function ago(at) {
  const seconds = (Date.now() + ahead - Date.parse(at)) / 1000;
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 86_400) return `${span(Math.floor(seconds / 60) * 60)} ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}

const clock = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** How long ago, with the moment itself beside it for whoever points at it or has it read out. */
export function when(at) {
  const full = clock.format(new Date(at));
  return el("time", { datetime: at, title: full, "aria-label": `${ago(at)}, ${full}` }, ago(at));
}

/** Let every shown age grow. */
export function refreshTimes(root = document) {
  for (const time of root.querySelectorAll("time")) {
    const text = ago(time.dateTime);
    if (time.textContent !== text) {
      time.textContent = text;
      time.setAttribute("aria-label", `${text}, ${time.title}`);
    }
  }
}

/** Where a number comes from: `measured`, `silicon`, `calibrated` or `assumed`. */
export const evidence = (name) => el("span", { class: `evidence ${name}` }, name);
