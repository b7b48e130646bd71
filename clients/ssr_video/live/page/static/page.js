// The page: what comes from the watch, and who shows it.

import { Chart } from "./chart.js";
import { make, put, remember, remembered } from "./dom.js";
import { Feed, liveUrl } from "./feed.js";
import { Grid } from "./grid.js";
import { Totals } from "./totals.js";
import { Tracks } from "./tracks.js";
import { changes, clock, duration } from "./words.js";

const by = (id) => document.getElementById(id);
const seconds = () => performance.now() / 1000;

let version = null;
let states = {};
let served = { utc: Date.now(), at: seconds() }; // the server's clock at the newest snapshot
let away = null; // { until, reason } while there is no connection

/** Milliseconds: now, by the server's clock. */
const now = () => served.utc + (seconds() - served.at) * 1000;

/** Read out what is not to be missed; what is the same is read again. */
function say(text) {
  const place = by("said");
  place.replaceChildren(make("span", {}, text));
}

const feed = new Feed(liveUrl(location), {
  news,
  picture: (header, jpeg) => grid.take(header, jpeg),
  away: lost,
  back() {
    away = null;
    tick();
  },
});

const grid = new Grid(by("grid"), {
  visible: (names) => feed.look(names),
  drawn: (counts) => feed.drawn(counts),
}, () => [seconds(), now()]);
const filter = by("filter");
const totals = new Totals(
  { totals: by("totals"), people: by("people-now"), word: by("people-word"), sinks: by("sinks") },
  () => choose(),
);
const chart = new Chart(
  { chart: by("chart"), legend: by("legend"), ranges: by("ranges"), empty: by("no-people"), details: by("numbers"), table: by("numbers").querySelector("table") },
  say,
);
const tracks = new Tracks({ table: by("track-table"), empty: by("no-track"), camera: by("of-camera") });

function news({ state, bands, tracks: ended }) {
  if (version !== null && version !== state.version) {
    location.reload(); // another version has another page
    return;
  }
  version = state.version;
  served = { utc: Date.parse(state.utc), at: seconds() };
  const { cameras } = state;
  grid.update(cameras, served.at);
  totals.update(cameras, state.sinks);
  chart.update(bands, served.utc);
  tracks.update(ended, cameras.map(({ name }) => name));
  const after = Object.fromEntries(cameras.map((camera) => [camera.name, camera.state]));
  const told = changes(states, after, Object.fromEntries(cameras.map(({ name, state: is, why }) => [name, is === "lost" ? why : null])));
  if (told) say(told);
  states = after;
  const lostCameras = cameras.filter((camera) => camera.state === "lost").length;
  document.title = lostCameras ? `▲ ${lostCameras} lost · ssr-video` : "ssr-video";
  empty(cameras);
  tick();
}

function empty(cameras) {
  const place = by("no-camera");
  put(place, cameras.length ? "No camera is like that." : "No camera is configured.");
  place.hidden = grid.shown.length > 0;
}

function choose() {
  grid.only(filter.value, totals.state);
  if (version !== null) empty([...grid.tiles.values()]);
}

/** There is no connection: the page says so, and shows what it had as what it is, old. */
async function lost(ms, reason) {
  const first = away === null;
  away = { until: seconds() + ms / 1000, reason };
  tick();
  if (first) return;
  // The watch may be there and let nobody in: then only its token helps, and its page asks for it.
  const answer = await fetch("state", { method: "HEAD" }).catch(() => null);
  if (answer?.status === 401) location.reload();
}

/** What goes on by itself. */
function tick() {
  const banner = by("banner");
  document.body.classList.toggle("away", away !== null);
  banner.hidden = away === null;
  if (away) {
    const left = Math.ceil(away.until - seconds());
    put(by("next-try"), left > 0 ? `Next try in ${duration(left)}.` : "Trying now.");
    put(banner.firstElementChild, `The page lost its server${away.reason ? ` (${away.reason})` : ""}. What it shows is old.`);
  } else {
    put(by("clock").firstElementChild, clock(now(), new Date(now())));
  }
  if (version !== null) grid.tick();
}

const SIZES = [12, 16, 20, 26, 34, 48]; // rem, of a tile
let size = Number(remembered("size", "2"));

function resize(by_) {
  size = Math.min(Math.max(size + by_, 0), SIZES.length - 1) || 0;
  document.documentElement.style.setProperty("--tile", `${SIZES[size]}rem`);
  remember("size", String(size));
}

const KEYS = {
  "/": () => filter.focus(),
  "?": () => by("keys").showModal(),
  "+": () => resize(1),
  "-": () => resize(-1),
};

function key(event) {
  if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey || by("keys").open) return;
  const { target } = event;
  if (target === filter && event.key === "Escape") {
    filter.value = "";
    choose();
    filter.blur();
  }
  if (target.closest("input, select, textarea")) return;
  if (event.key in KEYS) {
    event.preventDefault();
    if (!(grid.large && event.key === "/")) KEYS[event.key]();
  } else if (event.key === "Escape" && by("sinks").open) {
    by("sinks").open = false;
  } else if (grid.large || target === document.body || by("grid").contains(target)) {
    grid.key(event);
  }
}

filter.addEventListener("input", choose);
by("show-keys").addEventListener("click", KEYS["?"]);
by("banner").querySelector("button").addEventListener("click", () => feed.start());
addEventListener("online", () => away && feed.start());
document.addEventListener("keydown", key);
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && away && feed.start());
by("clock").title = `Times are of ${Intl.DateTimeFormat().resolvedOptions().timeZone || "this browser"}`;
resize(0);
setInterval(tick, 1000);
feed.start();
