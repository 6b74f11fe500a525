// Charts as SVG. Lengths are floats, since they end in pixels; the amounts they print are the exact strings given.

import { reconcile, setAttributes, setText, svg } from "./dom.js";
import { money, tick } from "./format.js";

const WINDOW = 120; // seconds of a sparkline
const GAP = 4; // seconds without a value that break its line: a hidden tab, a server that did not answer

/** A line of the last two minutes; `label` names it for those who do not see it. */
export class Sparkline {
  #element;
  #label;
  #values = []; // [time, value], oldest first
  #line = svg("path", { class: "line" });
  #area = svg("path", { class: "area" });

  constructor(element, label) {
    this.#element = element;
    this.#label = label;
    setAttributes(element, { viewBox: `0 0 ${WINDOW} 30`, preserveAspectRatio: "none", role: "img", "aria-label": label });
    element.append(this.#area, this.#line);
  }

  /** `time` in seconds; a null value leaves a gap. */
  add(time, value) {
    if (value != null && time > (this.#values.at(-1)?.[0] ?? 0)) this.#values.push([time, value]);
    while (this.#values.length && this.#values[0][0] < time - WINDOW) this.#values.shift();
    this.#draw(time);
  }

  #draw(now) {
    const highest = Math.max(1, ...this.#values.map(([, value]) => value));
    const point = ([time, value]) =>
      `${(WINDOW - now + time).toFixed(1)} ${(28 - (25 * value) / highest).toFixed(1)}`;
    const runs = [];
    let last = -Infinity;
    for (const entry of this.#values) {
      if (entry[0] - last > GAP) runs.push([]);
      runs.at(-1).push(entry);
      last = entry[0];
    }
    const x = ([time]) => (WINDOW - now + time).toFixed(1);
    this.#line.setAttribute("d", runs.map((run) => `M${run.map(point).join("L")}`).join(""));
    this.#area.setAttribute(
      "d",
      runs.map((run) => `M${x(run[0])} 30L${run.map(point).join("L")}L${x(run.at(-1))} 30Z`).join(""),
    );
    if (this.#values.length) {
      const peak = Math.round(highest === 1 ? Math.max(...this.#values.map(([, value]) => value)) : highest);
      setAttributes(this.#element, { "aria-label": `${this.#label}, highest ${peak}` });
    }
  }
}

/** Round numbers from at most `low` to at least `high`, about `count` of them. */
export function ticks(low, high, count) {
  const rough = (high - low || 1) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((factor) => factor * power >= rough) ?? 10);
  const first = Math.floor(low / step);
  const last = Math.max(first + 1, Math.ceil(high / step));
  return Array.from({ length: last - first + 1 }, (_, index) => (first + index) * step);
}

/** The same, but none below `low`: a few credit notes should not take half of a chart. */
const ticksFrom = (low, high, count) => ticks(low, high, count).filter((mark) => mark >= low);

/** Calls `draw(width)` now and whenever the element's width changes; returns a function that draws anew. */
function responsive(element, draw) {
  const redraw = () => element.clientWidth && draw(element.clientWidth);
  new ResizeObserver(redraw).observe(element);
  return redraw;
}

const group = (element, name) => element.appendChild(svg("g", { class: name }));
const titled = () => svg("rect", {}, svg("title"));

/** Horizontal bars: `show([[name, amount], ...])`, amounts as exact strings. */
export function barChart(element) {
  const [grid, bars, names, amounts] = ["axis", "bars", "names", "amounts"].map((name) => group(element, name));
  const ROW = 27;
  let rows = [];
  const redraw = responsive(element, (width) => {
    const left = Math.min(150, width * 0.34);
    const right = 12 + 7.4 * Math.max(4, ...rows.map(([, amount]) => money(amount).length));
    const numbers = rows.map(([, amount]) => Number(amount));
    const low = Math.min(0, ...numbers);
    const marks = ticksFrom(low, Math.max(1, ...numbers), Math.max(2, (width - left - right) / 90));
    const scale = (width - left - right) / (marks.at(-1) - low);
    const x = (value) => left + (value - low) * scale;
    const bottom = rows.length * ROW;
    setAttributes(element, { viewBox: `0 0 ${width} ${bottom + 26}`, height: bottom + 26 });
    axis(grid, marks, (value) => [x(value), 0, x(value), bottom], (value) => [x(value), bottom + 18]);
    reconcile(bars, rows, ([name]) => name, titled, (bar, [name, amount], index) => {
      const [from, to] = [x(Math.min(0, amount)), x(Math.max(0, amount))];
      setAttributes(bar, { x: from, y: index * ROW + 5, width: Math.max(1, to - from), height: ROW - 10, rx: 3 });
      setText(bar.firstChild, `${name}: ${money(amount)}`);
    });
    const text = () => svg("text");
    const room = Math.floor(left / 7.2);
    reconcile(names, rows, ([name]) => name, text, (label, [name], index) => {
      setAttributes(label, { x: 0, y: index * ROW + ROW / 2 + 4 });
      setText(label, name.length > room ? `${name.slice(0, room - 1)}…` : name);
    });
    reconcile(amounts, rows, ([name]) => name, text, (label, [, amount], index) => {
      setAttributes(label, { x: width, y: index * ROW + ROW / 2 + 4, "text-anchor": "end" });
      setText(label, money(amount));
    });
  });
  return (next) => {
    rows = next;
    redraw();
  };
}

/** Columns over time: `show([[day, amount], ...])`; `point(day, amount)` is called with the one under the pointer. */
export function columnChart(element, point) {
  const [grid, columns, labels] = ["axis", "bars", "axis"].map((name) => group(element, name));
  const [TOP, HEIGHT, BOTTOM] = [10, 300, 24];
  let rows = [];
  const redraw = responsive(element, (width) => {
    const numbers = rows.map(([, amount]) => Number(amount));
    const low = Math.min(0, ...numbers);
    const marks = ticksFrom(low, Math.max(1, ...numbers), 4);
    const left = 12 + 7 * Math.max(...marks.map((mark) => tick(mark).length));
    const y = (value) => TOP + ((marks.at(-1) - value) * (HEIGHT - TOP - BOTTOM)) / (marks.at(-1) - low);
    const band = Math.min(64, (width - left) / Math.max(1, rows.length));
    const x = (index) => left + index * band;
    setAttributes(element, { viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT });
    axis(grid, marks, (value) => [left, y(value), width, y(value)], (value) => [left - 8, y(value) + 4], "end");
    reconcile(columns, rows, ([day]) => day, titled, (column, [day, amount], index) => {
      const [high, low] = [y(Math.max(0, amount)), y(Math.min(0, amount))];
      const thick = Math.max(1, band - Math.max(1, band * 0.24));
      const inset = (band - thick) / 2;
      setAttributes(column, { x: x(index) + inset, y: high, width: thick, height: Math.max(1, low - high), rx: Math.min(3, thick / 3) });
      setText(column.firstChild, `${day}: ${money(amount)}`);
      column.onpointerenter = () => point(day, amount);
    });
    const every = Math.ceil(56 / band);
    const shown = rows.flatMap(([day], index) => (index % every === 0 ? [[day, index]] : []));
    reconcile(labels, shown, ([day]) => day, () => svg("text", { "text-anchor": "middle" }), (label, [day, index]) => {
      setAttributes(label, { x: Math.min(width - 20, Math.max(left + 14, x(index) + band / 2)), y: HEIGHT - 6 });
      setText(label, shortDay(day));
    });
  });
  return (next) => {
    rows = next;
    redraw();
  };
}

const shortDay = (day) =>
  new Date(`${day}T00:00:00Z`).toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });

function axis(parent, marks, line, place, anchor = "middle") {
  const make = () => svg("g", {}, svg("line"), svg("text", { "text-anchor": anchor }));
  reconcile(parent, marks, String, make, (mark, value) => {
    const [x1, y1, x2, y2] = line(value);
    const [x, y] = place(value);
    setAttributes(mark.firstChild, { x1, y1, x2, y2, class: value === 0 ? "zero" : "grid" });
    setAttributes(mark.lastChild, { x, y });
    setText(mark.lastChild, tick(value));
  });
}
