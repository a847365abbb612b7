// Points in, a figure out: SVG with a title and a description for whoever cannot see it.

import { el, plain, svg } from "./dom.js";
import { number } from "./format.js";

const MARGIN = { left: 52, right: 14, top: 14, bottom: 40 };
const HEIGHT = 250;
const MARKS_APART = 16;
const SHAPES = [
  (x, y) => svg("circle", { cx: x, cy: y, r: 4 }),
  (x, y) => svg("rect", { x: x - 3.6, y: y - 3.6, width: 7.2, height: 7.2 }),
  (x, y) => svg("path", { d: `M${x} ${y - 4.8}l4.6 8.2h-9.2z` }),
  (x, y) => svg("path", { d: `M${x} ${y - 5}l5 5-5 5-5-5z` }),
];
let figures = 0;

/** 1, 2 or 5 times a power of ten: `count` steps or a few more from `low` to `high`. */
function linearTicks(low, high, count = 4) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step / 1e6; tick += step) ticks.push(Number(tick.toPrecision(12)));
  return ticks;
}

/** Powers of ten, with 2 and 5 times them between where that gives few. */
function logTicks(low, high) {
  for (const factors of [[1], [1, 2, 5]]) {
    const ticks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
      ticks.push(...factors.map((factor) => factor * 10 ** power).filter((tick) => tick >= low && tick <= high));
    }
    if (ticks.length > 2) return ticks;
  }
  return linearTicks(low, high);
}

/** A scale over `values`: logarithmic where they span more than a factor of four, from zero where they do not. */
function scale(values, from, to, { zero = true } = {}) {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  if (least > 0 && most / least > 4 && zero) {
    const [low, high] = [least / 1.25, most * 1.25];
    const span = Math.log(high / low);
    return { at: (value) => from + ((to - from) * Math.log(value / low)) / span, ticks: logTicks(low, high), log: true };
  }
  const [low, high] = [zero ? Math.min(0, least) : least, (most === least ? most + (Math.abs(most) || 1) : most) * 1.06];
  return { at: (value) => from + ((to - from) * (value - low)) / (high - low || 1), ticks: linearTicks(low, high), log: false };
}

/** As wide as the page lets it be, so that its letters keep their size on a telephone. */
const widthOf = () => Math.max(260, Math.min(440, document.documentElement.clientWidth - 84));

function axes(x, y, { tickX = number, tickY = number, ...names }, width) {
  const { left, right, top, bottom } = MARGIN;
  const height = HEIGHT;
  const parts = [];
  for (const tick of y.ticks) {
    parts.push(svg("line", { class: "grid", x1: left, x2: width - right, y1: y.at(tick), y2: y.at(tick) }));
    parts.push(svg("text", { x: left - 6, y: y.at(tick) + 4, "text-anchor": "end" }, tickY(tick)));
  }
  for (const tick of x.ticks) {
    parts.push(svg("line", { class: "grid", x1: x.at(tick), x2: x.at(tick), y1: top, y2: height - bottom }));
    parts.push(svg("text", { x: x.at(tick), y: height - bottom + 16, "text-anchor": "middle" }, tickX(tick)));
  }
  const log = (one) => (one.log ? ", logarithmic" : "");
  parts.push(svg("text", { class: "name", x: width - right, y: height - 6, "text-anchor": "end" }, names.x + log(x)));
  return [parts, names.y + log(y)];
}

/** A word beside a point; words of points that lie on each other share a place. */
function mark(placed, x, y, word) {
  const near = placed.find((one) => Math.hypot(one.x - x, one.y - y) < MARKS_APART);
  if (near) {
    near.text.textContent += `, ${word}`;
    return null;
  }
  const text = svg("text", { class: "mark", x: x + 8, y: y - 6 }, word);
  placed.push({ x, y, text });
  return text;
}

function figure(caption, described, parts, legend, width) {
  const id = `figure-${(figures += 1)}`;
  const drawing = svg(
    "svg",
    { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-labelledby": `${id}-title ${id}-text` },
    svg("title", { id: `${id}-title` }, caption),
    svg("desc", { id: `${id}-text` }, described),
    ...parts,
  );
  const keys = legend.map(([name, kind, shape]) => {
    const key = svg("svg", { viewBox: "0 0 12 12", "aria-hidden": "true", class: kind }, SHAPES[shape](6, 6));
    return el("li", {}, key, name);
  });
  return el("figure", {}, el("figcaption", {}, caption), drawing, el("ul", { class: "legend" }, ...keys));
}

/**
 * Points of several groups over two quantities. A group is `{name, kind, shape, line, points}`, a point
 * `{x, y, text, mark, low, high}`: `text` is what is told of it, `mark` a word beside it, `low` to `high` its interval. `names` are
 * `{x, y, tickX, tickY}`: what the axes show, and how numbers stand at them.
 */
export function chart(names, groups, { timed = false } = {}) {
  const shown = groups.filter((group) => group.points.length);
  const points = shown.flatMap((group) => group.points);
  const { left, right, top, bottom } = MARGIN;
  const width = widthOf();
  const placed = [];
  const heights = points.flatMap((point) => [point.y, point.low ?? point.y, point.high ?? point.y]);
  const x = scale(points.map((point) => point.x), left, width - right, { zero: !timed });
  const y = scale(heights, HEIGHT - bottom, top);
  const [parts, caption] = axes(x, y, names, width);
  for (const group of shown) {
    const drawn = svg("g", { class: group.kind });
    if (group.line) {
      const path = group.points.map((point, at) => `${at ? "L" : "M"}${x.at(point.x).toFixed(1)} ${y.at(point.y).toFixed(1)}`);
      drawn.append(svg("path", { class: "line", d: path.join("") }));
    }
    for (const point of group.points) {
      const [px, py] = [x.at(point.x), y.at(point.y)];
      if (point.low !== undefined) drawn.append(svg("line", { class: "interval", x1: px, x2: px, y1: y.at(point.low), y2: y.at(point.high) }));
      const shape = SHAPES[group.shape](px, py);
      shape.append(svg("title", {}, plain(point.text)));
      drawn.append(shape);
      const word = point.mark && mark(placed, px, py, point.mark);
      if (word) drawn.append(word);
    }
    parts.push(drawn);
  }
  const told = shown.map((group) => `${group.name}: ${group.points.map((point) => plain(point.text, 160)).join("; ")}.`);
  const legend = shown.map((group) => [group.name, group.kind, group.shape]);
  return figure(caption, told.join(" ").slice(0, 4000), parts, legend, width);
}
