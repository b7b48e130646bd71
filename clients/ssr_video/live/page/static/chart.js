// The bars of people by age band, their values under the pointer or the arrow keys, and the same as a table.

import { RANGES, bars, colour, marks, merge } from "./bins.js";
import { make, mark, put, remember, remembered } from "./dom.js";
import { counted, number } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 190;
const EDGE = { left: 34, right: 6, top: 8, bottom: 22 };

export class Chart {
  /** `parts`: elements chart, legend, ranges, empty, table, details; `say(text)` reads out. */
  constructor(parts, say) {
    this.parts = parts;
    this.say = say;
    this.names = [];
    this.known = new Map();
    this.now = Date.now();
    this.at = null;
    this.hours = Number(remembered("hours", "1"));
    if (!(this.hours in RANGES)) this.hours = 1;
    this.tip = make("div", { class: "tip", hidden: true });
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.dark.addEventListener("change", () => this.paint(true));
    new ResizeObserver(() => this.paint()).observe(parts.chart);
    parts.chart.addEventListener("pointermove", (event) => this.point(event));
    parts.chart.addEventListener("pointerleave", () => this.select(null));
    parts.chart.addEventListener("blur", () => this.select(null));
    parts.chart.addEventListener("keydown", (event) => this.key(event));
    parts.details.addEventListener("toggle", () => this.paint());
    for (const hours of Object.keys(RANGES).map(Number)) {
      const button = make("button", { type: "button" }, `${hours} h`);
      button.addEventListener("click", () => this.range(hours));
      parts.ranges.append(button);
    }
    this.range(this.hours);
  }

  range(hours) {
    this.hours = hours;
    this.at = null;
    remember("hours", String(hours));
    Object.keys(RANGES).forEach((one, i) => mark(this.parts.ranges.children[i], "aria-pressed", String(Number(one) === hours)));
    this.paint();
  }

  /** What the watch tells of the minutes, where it does; `now`: milliseconds, by the server's clock. */
  update(bands, now) {
    const minute = Math.floor(this.now / 60000) !== Math.floor(now / 60000);
    this.now = now;
    if (bands) {
      const renamed = bands.names.join() !== this.names.join();
      this.names = bands.names;
      merge(this.known, bands, now);
      this.paint(renamed);
    } else if (minute) this.paint();
  }

  paint(anew = false) {
    const { chart, empty, details } = this.parts;
    if (anew || this.parts.legend.children.length !== this.names.length) this.legend();
    this.bars = bars(this.known, this.names.length, this.now, this.hours);
    const total = this.bars.reduce((sum, bar) => sum + bar.total, 0);
    empty.hidden = total > 0 || this.names.length === 0;
    const range = this.hours === 1 ? "hour" : `${this.hours} hours`;
    mark(chart, "aria-label", `People by age in the last ${range}: ${counted(total, "person", "people")}. Arrow keys read the bars.`);
    if (chart.clientWidth > 0) this.draw(chart.clientWidth);
    if (details.open) this.tabulate();
  }

  legend() {
    this.parts.legend.replaceChildren(...this.names.map((name, i) => {
      const swatch = shape("svg", { width: 12, height: 12, "aria-hidden": "true" });
      swatch.append(shape("rect", { width: 12, height: 12, rx: 2, fill: this.colour(i) }));
      return make("li", {}, swatch, ` ${name}`);
    }));
  }

  colour(i) {
    return colour(i, this.names.length, this.dark.matches);
  }

  draw(width) {
    const steps = marks(Math.max(...this.bars.map((bar) => bar.total)));
    const most = steps[steps.length - 1];
    const inner = { width: width - EDGE.left - EDGE.right, height: HEIGHT - EDGE.top - EDGE.bottom };
    const y = (value) => EDGE.top + inner.height * (1 - value / most);
    this.x = (i) => EDGE.left + (inner.width * i) / this.bars.length;
    const picture = shape("svg", { width, height: HEIGHT, "aria-hidden": "true" });
    for (const value of steps) {
      picture.append(
        shape("line", { class: "rule", x1: EDGE.left, x2: width - EDGE.right, y1: y(value), y2: y(value) }),
        shape("text", { class: "axis", x: EDGE.left - 6, y: y(value) + 4, "text-anchor": "end" }, number(value)),
      );
    }
    const gap = inner.width / this.bars.length > 5 ? 1 : 0;
    this.bars.forEach((bar, i) => {
      let sum = 0;
      bar.people.forEach((value, band) => {
        if (value > 0) {
          const [top, bottom] = [y(sum + value), y(sum)];
          const place = { x: this.x(i), width: Math.max(1, this.x(i + 1) - this.x(i) - gap), y: top, height: bottom - top };
          picture.append(shape("rect", { class: "band", fill: this.colour(band), ...place }));
        }
        sum += value;
      });
    });
    picture.append(...this.times(width));
    this.cursor = shape("rect", { class: "cursor", y: EDGE.top, height: inner.height, width: this.x(1) - this.x(0) });
    picture.append(this.cursor);
    this.parts.chart.replaceChildren(picture, this.tip);
    this.select(this.at);
  }

  /** Times below the bars, as many as there is room for. */
  times(width) {
    const each = [10, 20, 30, 60, 120, 180, 360, 720].find((minutes) => (width * minutes) / (this.hours * 60) > 52) * 60000;
    const found = [];
    this.bars.forEach((bar, i) => {
      const local = bar.start - new Date(bar.start).getTimezoneOffset() * 60000;
      if (local % each !== 0) return;
      const x = Math.min(this.x(i), width - EDGE.right - 16);
      found.push(
        shape("line", { class: "rule", x1: this.x(i), x2: this.x(i), y1: HEIGHT - EDGE.bottom, y2: HEIGHT - EDGE.bottom + 4 }),
        shape("text", { class: "axis", x, y: HEIGHT - 5, "text-anchor": "middle" }, time(bar.start)),
      );
    });
    return found;
  }

  point(event) {
    const left = event.clientX - this.parts.chart.getBoundingClientRect().left;
    const i = Math.floor(((left - EDGE.left) / (this.parts.chart.clientWidth - EDGE.left - EDGE.right)) * this.bars.length);
    this.select(i >= 0 && i < this.bars.length ? i : null);
  }

  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const last = this.bars.length - 1;
    const at = this.at ?? last + 1;
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last }[event.key];
    if (to === undefined && event.key !== "Escape") return;
    event.preventDefault();
    this.select(to === undefined ? null : Math.min(Math.max(to, 0), last));
    if (this.at !== null) this.say(this.words(this.bars[this.at]));
  }

  words(bar) {
    const bands = bar.people.map((value, i) => (value ? `${this.names[i]}: ${number(value)}` : "")).filter(Boolean);
    return [`${time(bar.start)} to ${time(bar.end)}`, counted(bar.total, "person", "people"), ...bands].join(", ");
  }

  /** Show the values of one bar, or of none: null. */
  select(i) {
    this.at = i;
    this.tip.hidden = i === null;
    if (!this.cursor) return;
    this.cursor.style.display = i === null ? "none" : "";
    if (i === null) return;
    const bar = this.bars[i];
    this.cursor.setAttribute("x", this.x(i));
    const lines = bar.people.map((value, band) => (value ? `${this.names[band]}: ${number(value)}` : "")).filter(Boolean);
    put(this.tip, [`${time(bar.start)} – ${time(bar.end)}`, counted(bar.total, "person", "people"), ...lines.reverse()].join("\n"));
    const right = this.x(i) > this.parts.chart.clientWidth / 2;
    this.tip.style.left = right ? "" : `${this.x(i + 1) + 4}px`;
    this.tip.style.right = right ? `${this.parts.chart.clientWidth - this.x(i) + 4}px` : "";
  }

  /** The bars with people in them, newest first. */
  tabulate() {
    const head = make("tr", {}, ...["From", ...this.names, "all"].map((name) => make("th", { scope: "col" }, name)));
    const rows = this.bars.filter((bar) => bar.total > 0).reverse().map((bar) =>
      make("tr", {}, make("th", { scope: "row" }, time(bar.start)), ...[...bar.people, bar.total].map((value) => make("td", { class: "number" }, number(value)))),
    );
    this.parts.table.replaceChildren(make("thead", {}, head), make("tbody", {}, ...rows));
  }
}

function time(at) {
  const moment = new Date(at);
  return [moment.getHours(), moment.getMinutes()].map((value) => String(value).padStart(2, "0")).join(":");
}

function shape(tag, attributes, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}
