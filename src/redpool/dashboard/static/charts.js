// Charts over time, drawn by uPlot. All charts of a page have the same time axis and share one cursor.

import uPlot from "./uplot/uPlot.esm.js";
import { h, setText } from "./dom.js";
import { count, seconds, time, waited } from "./format.js";

// The bounds of the counted waits, in seconds: `redpool.core.histogram.BOUNDS`. Above the last there is one count more.
export const BOUNDS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const GAP = 20; // seconds without a row after which a line is broken
const FONT = '11px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
const AXIS = 56; // the same for all, so that the same moment stands at the same place

const probe = h("span", { hidden: true });
const colors = new Map();

// The color that a name stands for in the present theme, as a canvas needs it.
export function color(name) {
  if (!colors.has(name)) {
    if (!probe.isConnected) document.body.append(probe);
    probe.style.color = `var(--${name})`;
    colors.set(name, getComputedStyle(probe).color);
  }
  return colors.get(name);
}

export function forgetColors() {
  colors.clear();
}

// Rows as columns by name, from a moment on; a column `at` has the times. Where rows are missing stands one of nulls.
export function columnsOf(rows, names, from) {
  const columns = Object.fromEntries(names.map((name) => [name, []]));
  let first = rows.length;
  while (first > 0 && rows[first - 1][0] >= from) first -= 1;
  for (let number = Math.max(0, first - 1); number < rows.length; number += 1) {
    const row = rows[number];
    const before = columns.at[columns.at.length - 1];
    if (before !== undefined && row[0] - before > GAP) {
      names.forEach((name) => columns[name].push(name === "at" ? before + 1 : null));
    }
    names.forEach((name, place) => columns[name].push(row[place]));
  }
  return columns;
}

export class Chart {
  // `series`: { label, color, fill, dash, width, values(columns), text(columns, place) }, the first at the bottom;
  // one that is `unseen` only has values, for the scale.
  // `draw(u, columns)` draws what uPlot has no shape for.
  constructor({ title, hint, height = 150, series = [], draw, axis = {}, range }) {
    Object.assign(this, { title, series, draw, height, columns: { at: [], events: [] }, from: 0, to: 1 });
    this.legend = series.map((each) => {
      const value = h("b");
      const swatch = h("i", { class: each.mark ?? (each.fill ? "area" : "line"), "data-color": each.color });
      return { each, value, item: h("span", { class: "key", title: each.hint }, swatch, each.label, " ", value) };
    });
    this.when = h("span", { class: "when" });
    const keys = h("div", { class: "keys" }, this.when, ...this.legend.map(({ item }) => item));
    this.plot = h("div", { class: "plot", tabindex: "0", role: "img", onkeydown: (event) => this.move(event), onmousemove: () => (this.held = undefined), onblur: () => this.release() });
    this.plot.style.height = `${height}px`;
    const words = hint ? h("p", { class: "hint" }, hint) : undefined;
    this.element = h("section", { class: "panel chart" }, h("div", { class: "panel-head" }, h("h2", {}, title), keys), words, this.plot);
    this.u = new uPlot(this.options(axis, range), [[], ...this.drawn().map(() => [])], this.plot);
    this.observer = new ResizeObserver(() => this.fit());
    this.observer.observe(this.plot);
  }

  // What is drawn first is covered by what is drawn later: the highest area comes first.
  drawn() {
    return this.series.length ? [...this.series].reverse() : [{ values: ({ at }) => at.map(() => null) }];
  }

  options(axis, range) {
    const faint = { stroke: () => color("line"), width: 1 };
    const text = { stroke: () => color("dim"), font: FONT };
    return {
      width: 300,
      height: this.height,
      padding: [6, 24, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, sync: { key: "time", setSeries: false }, points: { show: false } },
      scales: { x: { time: true, range: () => [this.from, this.to] }, y: { range: range ?? ((u, low, high) => [0, Math.max(1, (high ?? 1) * 1.06)]) } },
      axes: [
        { ...text, grid: { show: false }, ticks: { ...faint, size: 4 }, size: 24, gap: 2, space: 70, values: (u, splits) => splits.map(clock(this.to - this.from)) },
        { ...text, grid: faint, ticks: { show: false }, size: AXIS, gap: 4, space: 22, ...axis },
      ],
      series: [{}, ...this.drawn().map((each) => this.line(each))],
      hooks: { setCursor: [() => this.say()], draw: this.draw ? [(u) => this.paint(u)] : [] },
    };
  }

  line(each) {
    if (!each.color || each.unseen) return { points: { show: false } };
    return {
      stroke: each.fill ? undefined : () => color(each.color),
      fill: each.fill ? () => color(each.color) : undefined,
      width: each.width ?? 1.5,
      dash: each.dash,
      points: each.fill ? { show: false } : { show: true, size: 3, fill: () => color(each.color), filter: alone },
    };
  }

  update(columns, from, to) {
    Object.assign(this, { columns, from, to });
    this.u.setData([columns.at, ...this.drawn().map((each) => each.values(columns))]);
    if (this.held !== undefined) this.hold(this.held);
    this.say();
  }

  paint(u) {
    const { left, top, width, height } = u.bbox;
    u.ctx.save();
    u.ctx.beginPath();
    u.ctx.rect(left, top, width, height);
    u.ctx.clip();
    this.draw(u, this.columns);
    u.ctx.restore();
  }

  // The figures under the cursor, or the latest ones.
  say() {
    const { at } = this.columns;
    const under = this.u?.cursor.idx;
    const hovered = under !== undefined && under !== null && under < at.length && (this.u.cursor.left ?? -1) >= 0;
    const place = hovered ? under : at.length - 1;
    for (const { each, value } of this.legend) setText(value, place >= 0 ? each.text(this.columns, place) : "–");
    setText(this.when, hovered ? time(at[place]) : "");
    const words = this.legend.map(({ each, value }) => `${each.label} ${value.textContent}`).join(", ");
    this.plot.setAttribute("aria-label", `${this.title}: ${words || "no figures"}`);
  }

  move(event) {
    const last = this.columns.at.length - 1;
    const place = this.u.cursor.idx ?? last;
    const places = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: last };
    if (!(event.key in places) || last < 0) return;
    event.preventDefault();
    this.hold(this.columns.at[Math.min(last, Math.max(0, places[event.key]))]);
  }

  // Keep the cursor of all charts at a moment, until the pointer moves or the keyboard leaves.
  hold(at) {
    this.held = at;
    const left = at >= this.from ? this.u.valToPos(at, "x") : -10;
    this.u.setCursor({ left, top: left < 0 ? -10 : 5 }, true, true);
  }

  release() {
    if (this.held === undefined) return;
    this.hold(-1);
    this.held = undefined;
  }

  fit() {
    const width = Math.floor(this.plot.clientWidth);
    if (width > 0 && width !== this.u.width) this.u.setSize({ width, height: this.height });
  }

  dispose() {
    this.observer.disconnect();
    this.u.destroy();
  }
}

// The points of a line that have no neighbor: without a dot they would not be seen.
function alone(u, series, show) {
  const values = u.data[series];
  if (!show) return [];
  return values.map((_, place) => place).filter((place) => values[place] !== null && values[place - 1] == null && values[place + 1] == null);
}

function clock(span) {
  const options = { hour: "2-digit", minute: "2-digit", hour12: false, ...(span <= 300 ? { second: "2-digit" } : {}) };
  return (at) => new Date(at * 1000).toLocaleTimeString([], options);
}

// The sum of some columns; null where a row is missing.
const total = (...names) => (columns) =>
  columns.at.map((_, place) => (columns[names[0]][place] === null ? null : names.reduce((sum, name) => sum + columns[name][place], 0)));

const figure = (name) => (columns, place) => (columns[name][place] === null ? "–" : count(columns[name][place]));

// Who has the connections: the areas stand on one another, and who waits stands above what the pools may open.
export function occupation(title = "Connections") {
  const idle = (columns, place) => Math.max(0, columns.open[place] - columns.in_use[place]);
  return new Chart({
    title,
    height: 210,
    series: [
      { label: "in use", color: "in-use", fill: true, values: total("in_use"), text: figure("in_use") },
      { label: "idle", color: "idle", fill: true, values: total("open"), text: (c, p) => (c.open[p] === null ? "–" : count(idle(c, p))) },
      { label: "connecting", color: "connecting", fill: true, values: total("open", "connecting"), text: figure("connecting") },
      { label: "waiting", color: "waiting", fill: true, values: total("open", "connecting", "waiting"), text: figure("waiting") },
      { label: "max", color: "text", dash: [4, 4], width: 1, values: total("max"), text: figure("max") },
    ],
    axis: { incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000] },
  });
}

const exponent = (value) => (value === null || value === undefined ? null : Math.log10(Math.max(value, 0.0001)));
const decades = { splits: (u, _, low, high) => range(Math.ceil(low), Math.floor(high)), values: (u, splits) => splits.map((each) => seconds(10 ** each)) };

function range(low, high) {
  return Array.from({ length: Math.max(0, high - low + 1) }, (_, number) => low + number);
}

// How long callers waited: half of them at most the lower line, all but one in a hundred at most the upper one.
export function percentiles(height = 150) {
  const of = (name) => (columns) => columns[name].map((value, place) => (columns.acquired[place] ? exponent(value) : null));
  const text = (name) => (columns, place) => (columns.acquired[place] ? waited(columns[name][place]) : "–");
  return new Chart({
    title: "Wait for a connection",
    height,
    series: [
      { label: "p50", color: "p50", values: of("p50"), text: text("p50") },
      { label: "p99", color: "p99", values: of("p99"), text: text("p99") },
    ],
    axis: decades,
    range: (u, low, high) => [-4.1, Math.max(-1.5, Math.ceil((high ?? -2) + 0.05))],
  });
}

// How many callers waited how long: a column a second, a step a bound; the more of them, the darker.
export function heatMap() {
  const sum = (counts, from) => (counts ?? []).reduce((all, each, place) => all + (place >= from ? each : 0), 0);
  const ticks = [4, 7, 10, 13, 16];
  return new Chart({
    title: "Waits, how many how long",
    series: [
      { label: "all", mark: "area", color: "heat", values: ({ at }) => at.map(() => null), text: (c, p) => count(sum(c.waits[p], 0)) },
      { label: "over 10 ms", mark: "none", values: ({ at }) => at.map(() => null), text: (c, p) => count(sum(c.waits[p], 7)) },
      { label: "over 1 s", mark: "none", values: ({ at }) => at.map(() => null), text: (c, p) => count(sum(c.waits[p], 13)) },
    ],
    axis: { splits: () => ticks, values: () => ticks.map((each) => seconds(BOUNDS[each - 1])) },
    range: () => [0, BOUNDS.length + 1],
    draw: drawHeat,
  });
}

function drawHeat(u, { at, waits }) {
  const cells = new Map(); // a column of at least two pixels has all waits of its time
  let most = 1;
  for (let place = 1; place < at.length; place += 1) {
    if (!waits[place]?.length) continue;
    const right = u.valToPos(at[place], "x", true);
    const left = Math.max(u.valToPos(at[place - 1], "x", true), right - 12 * devicePixelRatio);
    const column = Math.floor(left / 2);
    const cell = cells.get(column) ?? { left, right, counts: new Array(BOUNDS.length + 1).fill(0) };
    cell.right = Math.max(cell.right, right);
    waits[place].forEach((each, step) => (cell.counts[step] += each));
    most = Math.max(most, ...cell.counts);
    cells.set(column, cell);
  }
  u.ctx.fillStyle = color("heat");
  for (const { left, right, counts } of cells.values()) {
    counts.forEach((each, step) => {
      if (!each) return;
      u.ctx.globalAlpha = 0.12 + (0.88 * Math.log1p(each)) / Math.log1p(most);
      const top = u.valToPos(step + 1, "y", true);
      u.ctx.fillRect(left, top, Math.max(1, right - left), u.valToPos(step, "y", true) - top - 1);
    });
  }
  u.ctx.globalAlpha = 1;
}

// Why a connection was closed: as planned, or because something was wrong with it.
const BROKEN = new Set(["error", "invalid", "leaked"]);

function closedFor(reasons, broken) {
  let sum = 0;
  for (const [reason, number] of Object.entries(reasons ?? {})) if (BROKEN.has(reason) === broken) sum += number;
  return sum;
}

// Connections opened, upwards, and closed, downwards.
export function connects() {
  const nothing = ({ at }) => at.map(() => null);
  return new Chart({
    title: "Opened and closed",
    height: 120,
    series: [
      { label: "opened", mark: "area", color: "in-use", unseen: true, values: (c) => c.connected, text: figure("connected") },
      { label: "closed", mark: "area", color: "planned", unseen: true, values: (c) => c.closed.map((each) => (each === null ? null : -each)), text: (c, p) => count(closedFor(c.reasons[p], false)) },
      { label: "closed as broken", mark: "area", color: "waiting", values: nothing, text: (c, p) => reasonsOf(c.reasons[p]) },
    ],
    axis: { values: (u, splits) => splits.map((each) => count(Math.abs(each))), incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000], space: 16 },
    range: (u, low, high) => [Math.min(-2, (low ?? 0) * 1.1), Math.max(2, (high ?? 0) * 1.1)],
    draw: drawConnects,
  });
}

function reasonsOf(reasons) {
  const broken = Object.entries(reasons ?? {}).filter(([reason]) => BROKEN.has(reason));
  return broken.length ? broken.map(([reason, number]) => `${count(number)} ${reason}`).join(", ") : "0";
}

function drawConnects(u, { at, connected, reasons }) {
  const zero = u.valToPos(0, "y", true);
  const wide = Math.max(2 * devicePixelRatio, Math.min(10 * devicePixelRatio, u.valToPos(1, "x", true) - u.valToPos(0, "x", true) - 1));
  const bar = (x, from, to, name) => {
    u.ctx.fillStyle = color(name);
    const [low, high] = [u.valToPos(from, "y", true), u.valToPos(to, "y", true)];
    u.ctx.fillRect(x - wide, Math.min(low, high), wide, Math.abs(high - low));
  };
  for (let place = 0; place < at.length; place += 1) {
    const x = u.valToPos(at[place], "x", true);
    if (connected[place]) bar(x, 0, connected[place], "in-use");
    const [planned, broken] = [closedFor(reasons[place], false), closedFor(reasons[place], true)];
    if (planned) bar(x, 0, -planned, "planned");
    if (broken) bar(x, -planned, -planned - broken, "waiting");
  }
  u.ctx.fillStyle = color("dim");
  u.ctx.fillRect(u.bbox.left, zero, u.bbox.width, 1);
}

// What the server itself noted: SLOWLOG (round) and LATENCY (pointed), by how long it took.
export function serverEvents(height = 120) {
  const of = (kind) => (c) => c.events.filter((each) => each.kind === kind && each.at >= c.from);
  const nothing = ({ at }) => at.map(() => null);
  return new Chart({
    title: "SLOWLOG and LATENCY",
    height,
    series: [
      { label: "SLOWLOG", mark: "dot", color: "p99", values: nothing, text: (c) => count(of("slow")(c).length) },
      { label: "LATENCY", mark: "pointed", color: "connecting", values: nothing, text: (c) => count(of("latency")(c).length) },
    ],
    axis: decades,
    range: () => [-3.6, 1],
    draw: (u, { events, from }) => {
      for (const event of events) {
        if (event.at < from) continue;
        const [x, y] = [u.valToPos(event.at, "x", true), u.valToPos(exponent(event.seconds), "y", true)];
        const size = 4 * devicePixelRatio;
        u.ctx.fillStyle = color(event.kind === "slow" ? "p99" : "connecting");
        u.ctx.beginPath();
        if (event.kind === "slow") u.ctx.arc(x, y, size, 0, 2 * Math.PI);
        else u.ctx.moveTo(x, y - size), u.ctx.lineTo(x + size, y + size), u.ctx.lineTo(x - size, y + size);
        u.ctx.fill();
      }
    },
  });
}

// Whose the server's clients are.
export function owners() {
  return new Chart({
    title: "The server's clients",
    height: 190,
    series: [
      { label: "known", color: "in-use", fill: true, values: total("known"), text: figure("known"), hint: "of a live process that reports its pools" },
      { label: "foreign", color: "idle", fill: true, values: total("known", "foreign"), text: figure("foreign"), hint: "not redpool's" },
      { label: "orphaned", color: "waiting", fill: true, values: total("known", "foreign", "orphaned"), text: figure("orphaned"), hint: "redpool's, and its process is gone or reports no more" },
    ],
    axis: { incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000] },
  });
}
