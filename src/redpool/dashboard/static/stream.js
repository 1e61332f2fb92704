// The stream of events behind a page: what is shown now, and rows of the past, kept up to date.

const LIMIT = 1800; // rows kept, as `documents.LIMIT`
const FIRST_WAIT = 1; // seconds
const LONGEST_WAIT = 30;
const SILENCE = 25; // seconds without a word after which the stream is taken for lost; it says something every 10

// Objects without a prototype: a name such as `__proto__` is a name like any other.
function plain(value) {
  if (Array.isArray(value)) return value.map(plain);
  return value !== null && typeof value === "object" ? merge(Object.create(null), value) : value;
}

// JSON Merge Patch (RFC 7396), in place.
export function merge(target, change) {
  for (const [name, value] of Object.entries(change)) {
    if (value === null) delete target[name];
    else if (typeof value === "object" && !Array.isArray(value)) {
      const old = target[name];
      const into = old !== undefined && typeof old === "object" && !Array.isArray(old) ? old : Object.create(null);
      target[name] = merge(into, value);
    } else target[name] = plain(value);
  }
  return target;
}

export function append(rows, row) {
  if (!row || (rows.length && row[0] <= rows[rows.length - 1][0])) return;
  rows.push(row);
  if (rows.length > LIMIT) rows.splice(0, rows.length - LIMIT);
}

// `shown(document, rows)` is called after each message, `state(name, seconds)` when the state changes: `connecting`,
// `live`, `disconnected` (tried again in so many seconds), `signed out`.
export class Stream {
  constructor(address, shown, state) {
    Object.assign(this, { address, shown, state, document: undefined, rows: [], wait: FIRST_WAIT, heard: performance.now() });
    this.watch = setInterval(() => this.check(), 1000);
    this.connect();
  }

  connect() {
    clearTimeout(this.timer);
    this.source?.close();
    this.heard = performance.now();
    this.state("connecting");
    const source = new EventSource(this.address);
    this.source = source;
    source.addEventListener("whole", (event) => this.whole(JSON.parse(event.data)));
    source.addEventListener("change", (event) => this.change(JSON.parse(event.data)));
    source.addEventListener("alive", () => (this.heard = performance.now()));
    source.onerror = () => source === this.source && this.lost();
  }

  close() {
    clearInterval(this.watch);
    clearTimeout(this.timer);
    this.source?.close();
    this.source = undefined;
    this.closed = true;
  }

  whole({ document, rows }) {
    this.document = plain(document);
    this.rows = rows.slice(-LIMIT).map(plain);
    this.live();
  }

  change({ patch, row }) {
    merge(this.document, patch);
    append(this.rows, row && plain(row));
    this.live();
  }

  live() {
    this.heard = performance.now();
    this.wait = FIRST_WAIT;
    this.state("live");
    this.shown(this.document, this.rows);
  }

  check() {
    if (this.source && performance.now() - this.heard > SILENCE * 1000) this.lost();
  }

  // The wait doubles each time, and is not the same for all pages: they don't come back all at once.
  lost() {
    this.source?.close();
    this.source = undefined;
    const seconds = this.wait * (0.8 + 0.4 * Math.random());
    this.wait = Math.min(LONGEST_WAIT, 2 * this.wait);
    this.state("disconnected", seconds);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.again(), seconds * 1000);
  }

  // The browser doesn't say why a stream can't be had: a plain request does.
  async again() {
    try {
      const answer = await fetch("./", { method: "HEAD", cache: "no-store" });
      if (this.closed) return;
      if (answer.status === 401) this.state("signed out");
      else this.connect();
    } catch {
      if (!this.closed) this.lost();
    }
  }
}
