// The pages: the fleet, a service, a pool, the server. Each has an `element`, and shows a document and rows of the past.

import * as charts from "./charts.js";
import { Table, Tiles, h, meter, setText } from "./dom.js";
import { bytes, count, long, plural, rate, seconds, time, waited } from "./format.js";

// The columns of the rows, as `documents.POOLS` and `documents.SERVER` have them.
const POOLS = ["at", "max", "open", "in_use", "connecting", "waiting", "oldest", "acquired", "timeouts", "connected", "closed", "p50", "p99", "reasons", "waits"];
const SERVER = ["at", "known", "orphaned", "foreign", "max", "commands"];
const SPANS = [[120, "2 min"], [600, "10 min"], [1800, "30 min"]];
const SHORTEST = 60; // seconds that a chart shows at least
const RECENT = 10; // seconds that the figures of what happened reach back

const path = (...names) => `#/${names.map(encodeURIComponent).join("/")}`;
export const toPool = (row) => path("pool", row.service, row.pool);
export const toService = (name) => path("service", name);

// -- what happened in the last seconds ---------------------------------------------------------------------------------

function happened(rows) {
  const last = rows[rows.length - 1];
  const recent = rows.filter((row) => last[0] - row[0] < RECENT);
  const sum = (name) => recent.reduce((all, row) => all + row[POOLS.indexOf(name)], 0);
  const waits = new Array(charts.BOUNDS.length + 1).fill(0);
  for (const row of recent) row[POOLS.indexOf("waits")].forEach((each, step) => (waits[step] += each));
  return { known: recent.length > 0, timeouts: sum("timeouts"), p99: quantile(waits, 0.99), p50: quantile(waits, 0.5) };
}

// As `Distribution.quantile`: even between two bounds; the largest bound stands for those above it.
function quantile(counts, share) {
  const all = counts.reduce((sum, each) => sum + each, 0);
  let below = 0;
  for (let step = 0; step < charts.BOUNDS.length; step += 1) {
    if (all && below + counts[step] >= share * all) {
      const low = step ? charts.BOUNDS[step - 1] : 0;
      return low + ((charts.BOUNDS[step] - low) * (share * all - below)) / counts[step];
    }
    below += counts[step];
  }
  return all ? charts.BOUNDS[charts.BOUNDS.length - 1] : undefined;
}

// -- parts of several pages --------------------------------------------------------------------------------------------

const full = (state) => (state.max && state.in_use >= 0.9 * state.max ? "warn" : "");
const slow = (value) => (value >= 1 ? "bad" : value >= 0.1 ? "warn" : "");

const TILES = [
  { name: "In use", hint: "connections that callers hold now; lower than the maximum is good", value: (s) => count(s.in_use), note: (s) => `of ${count(s.max)} at most`, level: full },
  { name: "Waiting now", hint: "callers that want a connection and have none; 0 is good", value: (s) => count(s.waiting), note: (s) => (s.waiting ? `the first for ${seconds(s.oldest)}` : "no caller waits"), level: (s) => (s.waiting ? "bad" : "") },
  { name: "Wait p99", hint: "99 of 100 checkouts of the last 10 s waited no longer; lower is good", value: (s) => waited(s.recent.p99), note: (s) => (s.recent.p50 === undefined ? "no checkouts" : `p50 ${waited(s.recent.p50)}`), level: (s) => slow(s.recent.p99) },
  { name: "Calls", hint: "checkouts, and commands over shared connections, each second, over the last 10 s", value: (s) => rate(s.calls), note: () => "each second" },
  { name: "Timeouts", hint: "callers that waited in vain in the last 10 s; 0 is good", value: (s) => (s.recent.known ? count(s.recent.timeouts) : "–"), note: () => "in 10 s", level: (s) => (s.recent.timeouts ? "bad" : "") },
];

const OPEN = { name: "Open", hint: "connections that stand, in use or idle", value: (s) => count(s.open), note: (s) => `${count(Math.max(0, s.open - s.in_use))} idle${s.connecting ? `, ${count(s.connecting)} connecting` : ""}` };

const OF_SERVER = { name: "Server's clients", hint: "all connections to the server, of any program", value: (s) => count(s.head.clients), note: (s) => (s.head.max_clients === undefined ? "" : `of ${count(s.head.max_clients)} at most`), level: (s) => (s.head.clients > 0.8 * s.head.max_clients ? "bad" : "") };

const state = (row) => {
  if (row.waiting > 0) return row.in_use >= row.max ? "exhausted" : "waiting";
  return row.max && row.in_use >= 0.9 * row.max ? "nearly full" : "fine";
};
const LEVELS = { exhausted: "bad", waiting: "bad", "nearly full": "warn", fine: "" };
const ORDER = { exhausted: 3, waiting: 2, "nearly full": 1, fine: 0 };

const USE = [
  { name: "state", title: "State", hint: "exhausted: all connections are in use, and callers wait", value: (row) => ORDER[state(row)] * 1e6 + row.waiting, text: state, level: (row) => LEVELS[state(row)], class: "state-cell" },
  { name: "share", title: "Occupation", hint: "in use and idle, of what may be open", value: (row) => row.in_use / (row.max || 1), make: meter, fill: (bar, row) => bar.show(row.in_use, row.open, row.max), class: "bar" },
  { name: "in_use", title: "In use", numeric: true, value: (row) => row.in_use, text: (row) => count(row.in_use) },
  { name: "max", title: "Max", numeric: true, value: (row) => row.max, text: (row) => count(row.max) },
  { name: "waiting", title: "Waiting", numeric: true, value: (row) => row.waiting, text: (row) => count(row.waiting), level: (row) => (row.waiting ? "bad" : "") },
  { name: "oldest", title: "Oldest", hint: "how long the first caller in the queue has waited", numeric: true, value: (row) => row.oldest, text: (row) => seconds(row.oldest), level: (row) => slow(row.oldest) },
];

const LATELY = [
  { name: "p50", title: "p50", hint: "wait of half of the checkouts, last 10 s", numeric: true, value: (row) => row.p50, text: (row) => waited(row.p50) },
  { name: "p99", title: "p99", hint: "wait of 99 of 100 checkouts, last 10 s", numeric: true, value: (row) => row.p99, text: (row) => waited(row.p99), level: (row) => slow(row.p99) },
  { name: "calls", title: "Calls/s", hint: "checkouts, and commands over shared connections, last 10 s", numeric: true, value: (row) => row.calls, text: (row) => rate(row.calls) },
  { name: "timeouts", title: "Timeouts", hint: "in the last 10 s", numeric: true, value: (row) => row.timeouts, text: (row) => count(row.timeouts), level: (row) => (row.timeouts ? "bad" : "") },
];

const SERVICE = { name: "service", title: "Service", value: (row) => row.service, href: (row) => toService(row.service), class: "name" };
const POOL = { name: "pool", title: "Pool", value: (row) => row.pool, href: toPool, class: "name" };
const PROCESSES = { name: "processes", title: "Processes", numeric: true, value: (row) => row.processes, text: (row) => count(row.processes) };
const PROCESS = { name: "host", title: "Process", value: (row) => `${row.host}:${row.pid}`, class: "name" };
const UP = { name: "started", title: "Up", hint: "since it started", numeric: true, value: (row) => -row.started, text: (row) => long(Math.max(0, row.at - row.started)) };
const VERSIONS = { name: "versions", title: "redpool, redis-py, Python", value: (row) => `${row.redpool}, ${row.redis_py}, ${row.python}`, class: "dim" };
const AGE = { name: "age", title: "For", numeric: true, value: (row) => row.age, text: (row) => seconds(row.age) };

function tableOfPools(columns) {
  return new Table({ title: "Pools", columns: [...columns, PROCESSES, ...USE, ...LATELY], sort: "state", filter: true, empty: "No pool is reported." });
}

// The buttons that say how far back the charts reach.
function spans(chosen, choose) {
  const one = ([span, text]) => {
    const input = h("input", { type: "radio", name: "span", value: span, checked: span === chosen, onchange: () => choose(span) });
    return h("label", {}, input, h("span", {}, text));
  };
  return h("fieldset", { class: "spans" }, h("legend", {}, "Time shown"), ...SPANS.map(one));
}

function rememberedSpan() {
  const span = Number(localStorage.getItem("span"));
  return SPANS.some(([each]) => each === span) ? span : SPANS[1][0];
}

class Page {
  constructor(columns, drawn) {
    Object.assign(this, { columns, charts: drawn, span: rememberedSpan(), rows: [] });
    this.heading = h("h1", { tabindex: "-1" });
    this.words = h("p", { class: "words" });
    const choice = spans(this.span, (span) => {
      this.span = span;
      localStorage.setItem("span", span);
      this.draw();
    });
    this.top = h("div", { class: "top" }, h("div", {}, this.heading, this.words), choice);
  }

  // The latest rows are drawn once for each picture that the screen shows: a hidden page draws nothing.
  past(rows, more = {}) {
    Object.assign(this, { rows, more });
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      this.draw();
    });
  }

  draw() {
    const to = this.rows.length ? this.rows[this.rows.length - 1][0] : Date.now() / 1000;
    // What is there fills the width, until there is more than is asked for.
    const first = this.rows.length ? this.rows[0][0] : to;
    const from = Math.max(to - this.span, Math.min(first, to - SHORTEST));
    const columns = { ...charts.columnsOf(this.rows, this.columns, from), ...this.more, from };
    for (const chart of this.charts) chart.update(columns, from, to);
  }

  dispose() {
    cancelAnimationFrame(this.frame);
    for (const chart of this.charts) chart.dispose();
  }
}

const grid = (...children) => h("div", { class: "grid" }, ...children);

// -- the fleet, and a service ------------------------------------------------------------------------------------------

const NOTHING = 'No process reports its pools here yet. One that calls redpool.publish(pool, service="...") appears within a second or two.';

class Pools extends Page {
  constructor(tiles, tables) {
    const drawn = [charts.occupation(), charts.percentiles(210)];
    super(POOLS, drawn);
    this.tiles = new Tiles(tiles);
    this.tables = tables;
    this.empty = h("p", { class: "empty" });
    this.full = h("div", {}, this.tiles.element, grid(...drawn.map((chart) => chart.element)), ...tables.map((table) => table.element));
    this.element = h("div", {}, this.top, this.empty, this.full);
  }

  update({ head, pools }, rows) {
    const lines = Object.entries(pools);
    this.empty.hidden = lines.length > 0;
    this.full.hidden = !lines.length;
    this.tiles.update({ ...added(lines), head, recent: happened(rows) });
    this.tables[0].update(lines);
    this.past(rows);
    setText(this.words, lines.length ? this.sentence(head, lines) : "");
  }
}

function added(lines) {
  const sums = { max: 0, open: 0, in_use: 0, connecting: 0, waiting: 0, oldest: 0 };
  let calls;
  for (const [, row] of lines) {
    for (const name of Object.keys(sums)) sums[name] = name === "oldest" ? Math.max(sums.oldest, row.oldest) : sums[name] + row[name];
    if (row.calls !== undefined) calls = (calls ?? 0) + row.calls;
  }
  return { ...sums, calls };
}

// What matters most now, in words.
function situation(lines, named) {
  const waited = lines.map(([, row]) => row).filter((row) => row.waiting > 0).sort((one, other) => other.oldest - one.oldest);
  if (!waited.length) return "No caller waits for a connection.";
  const [worst] = waited;
  const others = waited.length > 1 ? ` ${plural(waited.length - 1, "more pool has", "more pools have")} callers waiting.` : "";
  return `${plural(worst.waiting, "caller waits", "callers wait")}${named(worst)}, the first for ${seconds(worst.oldest)}.${others}`;
}

export class Fleet extends Pools {
  constructor() {
    super([...TILES, OPEN, OF_SERVER], [tableOfPools([SERVICE, POOL])]);
    setText(this.heading, "Fleet");
    setText(this.empty, NOTHING);
  }

  sentence(head, lines) {
    const counts = [plural(head.services, "service"), plural(head.processes, "process", "processes"), plural(head.pools, "pool")];
    return `${counts.join(", ")}. ${situation(lines, (row) => ` at ${row.service} / ${row.pool}`)}`;
  }
}

export class Service extends Pools {
  constructor({ service }) {
    const processes = new Table({ title: "Processes", columns: [PROCESS, UP, ...USE, VERSIONS], sort: "state", filter: true, empty: "No process of this service reports." });
    super([...TILES, OPEN], [tableOfPools([POOL]), processes]);
    setText(this.heading, service);
    setText(this.empty, "No live process of this service reports. It may have ended; its history is on the fleet's page.");
  }

  update(document, rows) {
    super.update(document, rows);
    this.tables[1].update(Object.entries(document.processes));
  }

  sentence(head, lines) {
    return situation(lines, (row) => ` at ${row.pool}`);
  }
}

// -- a pool ------------------------------------------------------------------------------------------------------------

const OF = { name: "process", title: "Process", value: (row) => row.process, text: (row) => row.process.slice(row.process.lastIndexOf("@") + 1), class: "dim" };
const BORROWER = { name: "borrower", title: "Thread or task", value: (row) => row.borrower, text: (row) => bare(row.borrower), class: "name" };
// A thread's or a task's name without its number, which the cell's title has.
function bare(text) {
  return text.replace(/ \(\d+\)$/, "");
}

const HOLDS = [
  AGE,
  { name: "taken_at", title: "Taken at", hint: "the line of code that took it", value: (row) => row.taken_at || "not known", text: (row) => place(row.taken_at) || "not known", class: "code" },
  { name: "command", title: "Last command", value: (row) => row.command || "–", class: "code" },
  BORROWER,
  OF,
];
const CALLS = [
  AGE,
  { name: "command", title: "Command", value: (row) => row.command, class: "code" },
  { name: "sent", title: "State", value: (row) => (row.sent ? "sent" : "queued") },
  { ...BORROWER, text: (row) => bare(row.borrower) || "not known" },
  { name: "waits_at", title: "Waits at", value: (row) => row.waits_at || "–", text: (row) => place(row.waits_at) || "–", class: "code" },
  OF,
];
const EVENTS = [
  { name: "at", title: "When", numeric: true, value: (row) => row.at, text: (row) => time(row.at) },
  { name: "seconds", title: "Took", numeric: true, value: (row) => row.seconds, text: (row) => seconds(row.seconds) },
  { name: "kind", title: "Noted by", value: (row) => (row.kind === "slow" ? "SLOWLOG" : "LATENCY") },
  { name: "what", title: "What", value: (row) => row.what, class: "code" },
  { name: "client", title: "Client", value: (row) => row.client || "–", class: "name" },
];
const TOTALS = [
  ["acquired", "checkouts"], ["waited", "found no idle connection"], ["timeouts", "waited in vain"], ["rejected", "rejected at once"], ["shed", "shed under overload"], ["retries_refused", "retries refused"],
  ["connected", "connects"], ["connect_failures", "connects that failed"], ["leaks", "leaks reported"],
  ["commands", "commands sent over shared connections"], ["writes", "writes that sent them"], ["cancelled", "commands whose callers left"],
];
const GOOD_AT_ZERO = new Set(["timeouts", "rejected", "shed", "retries_refused", "connect_failures", "leaks"]);

// A line of code, without most of the folders that it is in.
function place(text) {
  const [path, line] = text.split(/(?=:\d+ in )/);
  return line ? path.split(/[\\/]/).slice(-2).join("/") + line : text;
}

const numbered = (list) => list.map((row, number) => [String(number), row]);

export class Pool extends Page {
  constructor({ service, pool, process }) {
    const drawn = [charts.occupation(), charts.percentiles(), charts.heatMap(), charts.connects(), charts.serverEvents()];
    super(POOLS, drawn);
    setText(this.heading, pool);
    this.tiles = new Tiles([...TILES, OPEN]);
    const members = { ...PROCESS, href: (row) => path("pool", service, pool, row.key) };
    this.holds = new Table({ title: "Who holds connections", columns: HOLDS, sort: "age", most: 10, empty: "No connection is in use." });
    this.waits = new Table({ title: "Who waits", columns: [AGE, BORROWER, OF], sort: "age", most: 10, empty: "No caller waits." });
    this.calls = new Table({ title: "Oldest calls over shared connections", columns: CALLS, sort: "age", most: 10, empty: "No call is under way." });
    this.members = new Table({ title: "Processes", columns: [members, UP, ...USE, ...LATELY, VERSIONS], sort: "state", filter: true, empty: "No process reports this pool." });
    this.events = new Table({ title: "Noted by the server", columns: EVENTS, sort: "at", empty: "Neither SLOWLOG nor LATENCY has an entry." });
    this.totals = h("dl", { class: "facts" });
    this.one = process;
    this.empty = h("p", { class: "empty" }, "No live process reports this pool. It was closed, or its process has ended.");
    const [occupied, waited, heat, opened, noted] = drawn.map((chart) => chart.element);
    occupied.classList.add("wide");
    this.full = h(
      "div", {}, this.tiles.element, grid(occupied, waited, heat, opened, noted), h("div", { class: "grid uneven" }, this.holds.element, this.waits.element),
      this.calls.element, this.members.element, h("div", { class: "grid uneven" }, this.events.element, h("section", { class: "panel" }, h("div", { class: "panel-head" }, h("h2", {}, "Since the pool was created")), this.totals)),
    );
    this.element = h("div", {}, this.top, this.empty, this.full);
  }

  update(document, rows) {
    this.empty.hidden = !document.gone;
    if (document.gone) setText(this.words, "Gone.");
    else this.show(document, rows);
    this.past(rows, { events: document.events ?? [] });
  }

  show({ head, pool, members, borrowed, waiters, calls, events }, rows) {
    this.tiles.update({ ...pool, head, recent: happened(rows) });
    const of = this.one ? `of ${this.one}` : `of ${plural(pool.processes, "process", "processes")} together`;
    setText(this.words, `${pool.kind}, ${pool.shell}, to ${pool.address}; ${of}. ${situation([["", pool]], () => "")}`);
    this.holds.update(numbered(borrowed));
    this.waits.update(numbered(waiters));
    this.calls.update(numbered(calls));
    this.calls.element.hidden = !pool.kind.includes("multiplexed");
    this.members.update(Object.entries(members).map(([key, row]) => [key, { ...row, key }]));
    this.events.update(numbered(events));
    this.showTotals(pool);
  }

  showTotals({ totals, closed, connect, use, in_flight }) {
    const facts = TOTALS.filter(([name]) => totals[name] !== undefined).map(([name, text]) => [text, count(totals[name]), GOOD_AT_ZERO.has(name) && totals[name] > 0]);
    for (const [reason, number] of Object.entries(closed).sort((one, other) => other[1] - one[1])) facts.push([`closed: ${reason}`, count(number)]);
    facts.push(["connect, p50 and p99", `${seconds(connect.p50)}, ${seconds(connect.p99)}`], ["use, p50 and p99", `${seconds(use.p50)}, ${seconds(use.p99)}`]);
    if (in_flight) facts.push(["in flight now", count(in_flight)]);
    while (this.totals.children.length > facts.length) this.totals.lastElementChild.remove();
    facts.forEach(([text, value, bad], place) => {
      const line = this.totals.children[place] ?? this.totals.appendChild(h("div", {}, h("dt"), h("dd")));
      setText(line.firstElementChild, text);
      setText(line.lastElementChild, value);
      line.dataset.level = bad ? "bad" : "";
    });
  }
}

// -- the server --------------------------------------------------------------------------------------------------------

const OWNER = { name: "owner", title: "Owner", hint: "orphaned: redpool's, and its process is gone or reports no more; foreign: not redpool's", value: (row) => row.owner, level: (row) => (row.owner === "orphaned" ? "bad" : "") };
const IDLE = { name: "idle", title: "Idle", hint: "since its last command; marked where that is too long for a client that waits for nothing", numeric: true, value: (row) => row.idle, text: (row) => long(row.idle), level: (row) => (row.too_long ? "warn" : "") };
const SINCE = { name: "age", title: "Age", numeric: true, value: (row) => row.age, text: (row) => long(row.age) };
const MEMORY = { name: "memory", title: "Memory", numeric: true, value: (row) => row.memory, text: (row) => bytes(row.memory) };
const LIBRARY = { name: "library", title: "Library", value: (row) => row.library || "–", class: "dim" };
const NAME = { name: "name", title: "Name", value: (row) => row.name || "without a name", class: "name" };

export class Server extends Page {
  constructor() {
    const drawn = [charts.owners(), charts.serverEvents(190)];
    super(SERVER, drawn);
    setText(this.heading, "Server");
    this.tiles = new Tiles([
      { name: "Clients", hint: "all connections to the server", value: (s) => count(s.server.connected), note: (s) => (s.server.max === undefined ? "" : `of ${count(s.server.max)} at most`), level: (s) => (s.server.connected > 0.8 * s.server.max ? "bad" : "") },
      { name: "Known", hint: "of live processes that report their pools", value: (s) => count(s.owners.known), note: () => "reported" },
      { name: "Orphaned", hint: "redpool's, and their process is gone or reports no more; 0 is good", value: (s) => count(s.owners.orphaned), note: () => "not reported", level: (s) => (s.owners.orphaned ? "bad" : "") },
      { name: "Foreign", hint: "not redpool's", value: (s) => count(s.owners.foreign), note: () => "other programs" },
      { name: "Allowed to pools", hint: "what all pools may open together; above the server's limit is bad", value: (s) => count(s.head.max), note: (s) => (s.server.max && s.head.max > s.server.max ? "more than the server takes" : "if all were full"), level: (s) => (s.head.max > s.server.max ? "bad" : "") },
      { name: "Idle too long", hint: "clients that have sent nothing for long and wait for nothing; 0 is good", value: (s) => count(s.idle_too_long), note: () => "and wait for nothing", level: (s) => (s.idle_too_long ? "warn" : "") },
      { name: "Commands", value: (s) => count(s.server.commands), note: () => "each second" },
    ]);
    this.unseen = h("ul", { class: "unseen" });
    this.groups = new Table({ title: "By owner", columns: [OWNER, NAME, { name: "pool", title: "Pool", value: (row) => row.pool || "–" }, { name: "clients", title: "Clients", numeric: true, value: (row) => row.clients, text: (row) => count(row.clients) }, IDLE, SINCE, { name: "subscribed", title: "Subscribed", numeric: true, value: (row) => row.subscribed, text: (row) => count(row.subscribed) }, MEMORY, LIBRARY], sort: "owner", filter: true, empty: "The server lists no client." });
    this.clients = new Table({ title: "One by one", columns: [OWNER, NAME, { name: "address", title: "Address", value: (row) => row.address, class: "code" }, { name: "command", title: "Last command", value: (row) => row.command || "–", class: "code" }, IDLE, SINCE, { name: "user", title: "User", value: (row) => row.user || "–" }, MEMORY], sort: "owner", filter: true, most: 20, empty: "The server lists no client." });
    this.events = new Table({ title: "Noted by the server", columns: EVENTS, sort: "at", empty: "Neither SLOWLOG nor LATENCY has an entry." });
    this.empty = h("p", { class: "empty" }, "Nothing is known of the server's side: only processes are read here.");
    this.full = h("div", {}, this.tiles.element, this.unseen, grid(...drawn.map((chart) => chart.element)), this.groups.element, this.clients.element, this.events.element);
    this.element = h("div", {}, this.top, this.empty, this.full);
  }

  update(document, rows) {
    const { server } = document;
    this.empty.hidden = server.seen;
    this.full.hidden = !server.seen;
    if (!server.seen) return;
    setText(this.words, `${server.url}${server.version ? `, version ${server.version}` : ""}`);
    this.tiles.update(document);
    this.groups.update(Object.entries(document.groups));
    this.clients.update(document.clients.map((row) => [String(row.id), row]));
    this.events.update(numbered(document.events));
    const unseen = server.unseen.map((text) => `Not seen: ${text}`);
    if (this.unseen.textContent !== unseen.join("")) this.unseen.replaceChildren(...unseen.map((text) => h("li", {}, text)));
    this.past(rows, { events: document.events });
  }
}
