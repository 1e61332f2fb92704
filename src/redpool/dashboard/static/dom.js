// Elements, and tables that change in place. What comes from outside becomes text, never markup: nothing here reads
// HTML, and the page's policy (Trusted Types) forbids the browser to.

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Figures with their names, in a row. Each one: { name, hint, value(state), note(state), level(state) }.
export class Tiles {
  constructor(tiles) {
    this.parts = tiles.map((tile) => {
      const value = h("dd", { class: "value" });
      const note = h("dd", { class: "note" });
      return { tile, value, note, box: h("div", { title: tile.hint }, h("dt", {}, tile.name), value, note) };
    });
    this.element = h("dl", { class: "tiles" }, ...this.parts.map((part) => part.box));
  }

  update(state) {
    for (const { tile, value, note, box } of this.parts) {
      setText(value, tile.value(state));
      setText(note, tile.note?.(state) ?? "");
      box.dataset.level = tile.level?.(state) ?? "";
    }
  }
}

// How much of a whole is in use, and how much of it open, as a bar. It says the same in words.
export function meter() {
  const used = h("span", { class: "used" });
  const idle = h("span", { class: "idle" });
  const element = h("span", { class: "meter", role: "img" }, used, idle);
  element.show = (inUse, open, max) => {
    const share = (part) => `${max ? Math.min(100, (100 * part) / max) : 0}%`;
    used.style.width = share(inUse);
    idle.style.width = share(Math.max(0, open - inUse));
    element.setAttribute("aria-label", `${inUse} of ${max} in use, ${Math.max(0, open - inUse)} idle`);
  };
  return element;
}

// A table that its reader can sort, and filter. A column: { name, title, hint, numeric, value(row), text(row),
// href(row), make() and fill(element, row) for what is no text, level(row) }.
export class Table {
  constructor({ title, columns, empty, sort, descending = true, filter = false, most = 200 }) {
    Object.assign(this, { columns, empty, sort, descending, most, rows: [], trs: new Map(), asked: "" });
    this.headings = columns.map((column) => this.heading(column));
    this.body = h("tbody");
    this.nothing = h("p", { class: "nothing" });
    this.more = h("button", { type: "button", class: "more", onclick: () => ((this.most *= 4), this.draw()) });
    const table = h("table", {}, h("thead", {}, h("tr", {}, ...this.headings)), this.body);
    this.counted = h("span", { class: "counted" });
    const head = h("div", { class: "panel-head" }, h("h2", {}, title, " ", this.counted));
    if (filter) head.append(this.filterBox(title));
    const scroller = h("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": title }, table);
    this.scroller = scroller;
    this.element = h("section", { class: "panel" }, head, scroller, this.nothing, this.more);
  }

  heading(column) {
    const button = h("button", { type: "button", title: column.hint, onclick: () => this.sortBy(column) }, column.title);
    return h("th", { scope: "col", class: column.numeric ? "numeric" : "", "data-column": column.name }, button);
  }

  filterBox(title) {
    const box = h("input", {
      type: "search", class: "filter", placeholder: "Filter", "aria-label": `Filter: ${title}`, spellcheck: "false",
      oninput: () => ((this.asked = box.value.trim().toLowerCase()), this.draw()),
    });
    return box;
  }

  sortBy(column) {
    this.descending = this.sort === column.name ? !this.descending : Boolean(column.numeric);
    this.sort = column.name;
    this.draw();
  }

  // `rows`: [key, row] each.
  update(rows) {
    this.rows = rows;
    this.draw();
  }

  draw() {
    const shown = this.wanted();
    const kept = new Set();
    let place = this.body.firstElementChild;
    for (const [key, row] of shown.slice(0, this.most)) {
      let tr = this.trs.get(key);
      if (!tr) this.trs.set(key, (tr = this.line()));
      kept.add(key);
      this.columns.forEach((column, number) => fill(column, tr.parts[number], row));
      if (tr.element === place) place = place.nextElementSibling;
      else this.body.insertBefore(tr.element, place);
    }
    for (const [key, tr] of this.trs) {
      if (!kept.has(key)) {
        tr.element.remove();
        this.trs.delete(key);
      }
    }
    this.say(shown.length);
  }

  wanted() {
    const { asked, sort } = this;
    const column = this.columns.find((each) => each.name === sort);
    const rows = asked ? this.rows.filter(([, row]) => this.columns.some((each) => includes(each, row, asked))) : [...this.rows];
    if (!column) return rows;
    const sign = this.descending ? -1 : 1;
    return rows
      .map((pair) => [column.value(pair[1]), pair])
      .sort((one, other) => sign * compare(one[0], other[0]) || compare(one[1][0], other[1][0]))
      .map(([, pair]) => pair);
  }

  line() {
    const parts = this.columns.map((column) => {
      const content = column.make ? column.make() : column.href ? h("a") : undefined;
      const cell = h("td", { class: [column.numeric && "numeric", column.class].filter(Boolean).join(" ") });
      if (content) cell.append(content);
      return { cell, content };
    });
    return { parts, element: h("tr", {}, ...parts.map((part) => part.cell)) };
  }

  say(found) {
    this.headings.forEach((heading, number) => {
      const sorted = this.columns[number].name === this.sort;
      heading.setAttribute("aria-sort", sorted ? (this.descending ? "descending" : "ascending") : "none");
    });
    setText(this.counted, this.rows.length ? String(this.asked ? `${found} of ${this.rows.length}` : this.rows.length) : "");
    this.scroller.hidden = !found;
    this.nothing.hidden = Boolean(found);
    setText(this.nothing, this.rows.length ? "Nothing here matches the filter." : this.empty);
    this.more.hidden = found <= this.most;
    setText(this.more, `Show more: ${found - this.most} are left out`);
  }
}

function fill(column, { cell, content }, row) {
  if (column.fill) column.fill(content, row);
  else {
    const text = String(column.text ? column.text(row) : column.value(row));
    setText(content ?? cell, text);
    const value = column.value(row);
    const whole = column.numeric ? "" : typeof value === "string" ? value : text;
    if (cell.title !== whole) cell.title = whole;
  }
  if (column.href) {
    const href = column.href(row);
    if (content.getAttribute("href") !== href) content.setAttribute("href", href);
  }
  if (column.level) cell.dataset.level = column.level(row);
}

function includes(column, row, asked) {
  return !column.numeric && String(column.value(row)).toLowerCase().includes(asked);
}

function compare(one, other) {
  if (one === other) return 0;
  if (one === undefined) return -1;
  if (other === undefined) return 1;
  return one < other ? -1 : 1;
}
