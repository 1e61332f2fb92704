// The start: which page is shown, the state of its stream, the theme, the keys.

import { forgetColors } from "./charts.js";
import { h, setText } from "./dom.js";
import { long } from "./format.js";
import { Stream } from "./stream.js";
import { Fleet, Pool, Server, Service, toPool, toService } from "./views.js";

const VIEWS = { fleet: Fleet, service: Service, pool: Pool, server: Server };
const STALE = 6; // seconds without anything new after which a page says so

const at = (id) => document.getElementById(id);
const main = at("main");
let view;
let stream;
let last = { state: "connecting", heard: performance.now(), error: "" };

// -- pages -------------------------------------------------------------------------------------------------------------

// `#/`, `#/service/NAME`, `#/pool/SERVICE/NAME`, `#/pool/SERVICE/NAME/PROCESS`, `#/server`.
function route() {
  try {
    const [page, ...names] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
    if (page === "service" && names[0]) return { page, service: names[0], pool: "", process: "" };
    if (page === "pool" && names.length > 1) return { page, service: names[0], pool: names[1], process: names[2] ?? "" };
    if (page === "server") return { page, service: "", pool: "", process: "" };
  } catch {
    // An address that isn't well-formed shows the fleet.
  }
  return { page: "fleet", service: "", pool: "", process: "" };
}

function links(where) {
  const found = [["Fleet", "#/"]];
  if (where.service) found.push([where.service, toService(where.service)]);
  if (where.page === "pool") found.push([where.pool, toPool(where)]);
  if (where.process) found.push([where.process.slice(where.process.lastIndexOf("@") + 1), location.hash]);
  const current = where.page === "server" ? "#/server" : found[found.length - 1][1];
  const one = ([text, href]) => h("a", { href, "aria-current": href === current ? "page" : undefined, title: text }, text);
  at("pages").replaceChildren(h("span", { class: "crumbs" }, ...found.map(one)), one(["Server", "#/server"]));
  return found;
}

function show(focus = true) {
  const where = route();
  stream?.close();
  view?.dispose();
  const crumbs = links(where);
  view = new VIEWS[where.page](where);
  main.replaceChildren(view.element);
  document.title = `${where.page === "server" ? "Server" : crumbs.map(([text]) => text).reverse().join(" · ")} · redpool`;
  main.classList.add("waiting-for-first");
  const asked = new URLSearchParams(Object.entries(where).filter(([, text]) => text));
  const present = view;
  stream = new Stream(`events?${asked}`, (shown, rows) => {
    if (view !== present) return;
    if (main.classList.contains("waiting-for-first")) appear(present, focus);
    if (shown.head.at !== last.at) last = { ...last, at: shown.head.at, heard: performance.now() };
    last.error = shown.head.error;
    present.update(shown, rows);
    tell();
  }, (state, seconds) => {
    last = { ...last, state, again: seconds && performance.now() + seconds * 1000 };
    tell();
  });
}

// A page appears with its first figures. Who has followed a link goes on at its heading.
function appear(present, focus) {
  main.classList.remove("waiting-for-first");
  if (!focus) return;
  present.heading.focus({ preventScroll: true });
  scrollTo(0, 0);
}

// A page that has not been looked at for a minute takes no more figures, and comes back when it is looked at again.
const UNSEEN = 60_000;
let unseen;

addEventListener("visibilitychange", () => {
  clearTimeout(unseen);
  if (document.hidden) unseen = setTimeout(() => stream.close(), UNSEEN);
  else if (stream.closed) show(false);
});

// -- the state of the stream, in words ---------------------------------------------------------------------------------

const tryNow = h("button", { type: "button", onclick: () => stream.connect() }, "Try now");
const signIn = h("button", { type: "button", onclick: () => location.reload() }, "Sign in");
const said = h("span");
at("banner").append(said, tryNow, signIn);

function tell() {
  const silent = (performance.now() - last.heard) / 1000;
  const stale = last.state === "live" && (last.error || silent > STALE);
  const name = stale ? "stale" : last.state;
  at("state").dataset.state = name.replace(" ", "-");
  setText(at("state"), { connecting: "Connecting", live: "Live", stale: "Stale", disconnected: "Disconnected", "signed out": "Signed out" }[name]);
  main.classList.toggle("old", name !== "live" && name !== "connecting");
  const words = {
    stale: `Stale: these figures are ${long(silent)} old. ${last.error || "The dashboard has said nothing new since."}`,
    disconnected: `Disconnected from the dashboard. ${last.again ? "It is tried again by itself" : ""}${until()}.`,
    "signed out": "The dashboard asks for its token again.",
  };
  at("banner").hidden = !(name in words);
  setText(said, words[name] ?? "");
  tryNow.hidden = name !== "disconnected";
  signIn.hidden = name !== "signed out";
}

function until() {
  const seconds = Math.ceil((last.again - performance.now()) / 1000);
  return seconds > 0 ? ` in ${seconds} s` : " now";
}

setInterval(tell, 1000);

// -- light and dark ----------------------------------------------------------------------------------------------------

const THEMES = { auto: "Theme: as the system", light: "Theme: light", dark: "Theme: dark" };

function theme(next) {
  const name = next in THEMES ? next : "auto";
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  localStorage.setItem("theme", name);
  setText(at("theme"), { auto: "Auto", light: "Light", dark: "Dark" }[name]);
  at("theme").setAttribute("aria-label", THEMES[name]);
  recolor();
}

function recolor() {
  forgetColors();
  view?.draw();
}

function nextTheme() {
  const names = Object.keys(THEMES);
  theme(names[(names.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % names.length]);
}

at("theme").addEventListener("click", nextTheme);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolor);

// -- keys --------------------------------------------------------------------------------------------------------------

function up() {
  const where = route();
  if (where.process) location.hash = toPool(where);
  else if (where.page === "pool") location.hash = toService(where.service);
  else if (where.page !== "fleet") location.hash = "#/";
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.closest?.("input[type=search]");
  if (event.key === "Escape") typing ? typing.blur() : up();
  else if (typing) return;
  else if (event.key === "/") {
    event.preventDefault();
    document.querySelector("input.filter")?.focus();
  } else if (event.key === "t") nextTheme();
});

at("skip").addEventListener("click", () => main.focus());
addEventListener("hashchange", () => show());
theme(localStorage.getItem("theme") ?? "auto");
show(false);
