// One camera: its picture, its state and its figures.

import { make, mark, put } from "./dom.js";
import { draw } from "./draw.js";
import { CAUSES, STATES, ageWords, clock, countdown, counted, duration, faults, grown, latency, number } from "./words.js";

const OLD = 5; // seconds, after which a picture is no live one
const MINUTE = 60;

export class Tile {
  /** `dirty(tile)` is called when there is something to paint, or to acknowledge. */
  constructor(name, dirty) {
    this.name = name;
    this.dirty = dirty;
    this.camera = null;
    this.large = false;
    this.arrived = 0; // pictures that came
    this.done = 0; // of these, those that were decoded, or passed over
    this.told = 0; // of these, those that the server knows of
    this.next = null;
    this.last = null;
    this.bitmap = null;
    this.shownAt = 0;
    this.resting = false;
    this.drops = [];
    this.build();
  }

  build() {
    this.canvas = make("canvas");
    this.over = make("span", { class: "over" });
    this.button = make("button", { type: "button", class: "picture", tabindex: "-1" }, this.canvas, this.over);
    this.icon = make("span", { class: "icon", "aria-hidden": "true" });
    this.word = make("span");
    this.since = make("span", { class: "since" });
    this.people = make("span", { class: "people" });
    this.away = make("p", { class: "away", hidden: true });
    this.figures = Object.fromEntries(["fps", "p99", "size"].map((name) => [name, make("dd")]));
    this.dropped = make("summary", { tabindex: "-1" });
    this.causes = make("dl", { class: "causes" });
    this.present = make("ul", { class: "present" });
    this.element = make(
      "li",
      { class: "tile" },
      this.button,
      make(
        "div",
        { class: "name" },
        make("h3", { title: this.name }, this.name),
        make("span", { class: "state" }, this.icon, " ", this.word, " ", this.since),
        this.people,
      ),
      this.away,
      make(
        "div",
        { class: "figures" },
        make(
          "dl",
          {},
          make("div", { title: "Frames a second: read, and analysed" }, make("dt", {}, "fps"), this.figures.fps),
          make(
            "div",
            { title: "From a frame's arrival to what is told of it: 99 of 100 frames are faster" },
            make("dt", {}, "p99"),
            this.figures.p99,
          ),
          make("div", { class: "size" }, make("dt", {}, "stream"), this.figures.size),
        ),
        make("details", { class: "drops" }, this.dropped, this.causes),
      ),
      this.present,
    );
  }

  /** A new status of the camera; `now`: seconds, monotonic. */
  update(camera, now) {
    this.camera = camera;
    this.heard = now;
    mark(this.element, "data-state", camera.state);
    mark(this.element, "data-server", camera.server === null ? null : "away");
    put(this.icon, STATES[camera.state]?.icon ?? "");
    put(this.word, camera.state);
    put(this.people, counted(camera.people.length, "person", "people"));
    put(this.away, camera.server === null ? "" : `No ages: ${camera.server}`);
    this.away.hidden = camera.server === null;
    put(this.figures.fps, `${camera.rate.toFixed(1)} / ${camera.analysed_rate.toFixed(1)}`);
    put(this.figures.p99, latency(camera.latency?.[1]));
    put(this.figures.size, camera.width ? `${camera.width} × ${camera.height} ${camera.codec ?? ""}` : "–");
    this.drops.push([now, faults(camera.dropped)]);
    put(this.dropped, `dropped ${number(grown(this.drops, MINUTE))}/min`);
    this.list(camera);
    const people = camera.people.map(ageWords);
    const seen = camera.state === "live" ? [counted(people.length, "person", "people"), ...people] : [camera.why];
    mark(this.button, "aria-label", [this.name, camera.state, ...seen.filter(Boolean)].join(", "));
  }

  list(camera) {
    const causes = Object.entries(camera.dropped).map(([cause, count]) => [CAUSES[cause]?.words ?? cause, number(count)]);
    rows(this.causes, [
      ...causes,
      ["read", number(camera.read)],
      ["analysed", number(camera.analysed)],
      ["tracks", number(camera.tracks)],
      ["asks", number(camera.asks)],
      ["reconnections", number(camera.reconnections)],
      ["address", camera.address],
    ]);
    const present = camera.state === "live" ? camera.people : [];
    const lines = present.map((one) => [`#${one.track}`, ageWords(one), ...(one.zones ?? [])].join(", "));
    if (lines.join("\n") !== this.lines) {
      this.lines = lines.join("\n");
      this.present.replaceChildren(...lines.map((line) => make("li", {}, line)));
    }
  }

  /** What goes on by itself between two snapshots; `utc`: milliseconds, now by the server's clock. */
  tick(now, utc) {
    const camera = this.camera;
    const since = duration((utc - Date.parse(camera.since)) / 1000);
    put(this.since, since);
    const old = this.last && (now - this.shownAt > OLD || camera.state !== "live");
    mark(this.element, "data-old", old ? "" : null);
    const lines = [];
    if (camera.state !== "live") {
      lines.push(`${STATES[camera.state]?.icon ?? ""} ${camera.state}`);
      if (camera.why) lines.push(camera.why);
      if (camera.state === "lost") lines.push(countdown(camera.next_try, now - this.heard));
    }
    if (old) lines.push(`picture of ${clock(this.last.header.utc, new Date(utc))}`);
    else if (!this.last && camera.state === "live") lines.push("waiting for a picture");
    const text = lines.filter(Boolean).join("\n");
    put(this.over, text);
    this.over.hidden = !text;
  }

  /** A picture came. While one is decoded, the newest waits and older ones are passed over. */
  take(header, jpeg) {
    this.arrived += 1;
    this.next = { header, blob: new Blob([jpeg], { type: "image/jpeg" }), number: this.arrived };
    if (!this.decoding) this.decode();
  }

  async decode() {
    this.decoding = true;
    while (this.next) {
      const one = this.next;
      this.next = null;
      try {
        this.show(await createImageBitmap(one.blob), one);
      } catch {
        // A picture that cannot be decoded is not shown. The next one will be.
      }
      this.done = Math.max(this.done, one.number);
      this.dirty(this);
    }
    this.decoding = false;
  }

  show(bitmap, one) {
    this.bitmap?.close();
    this.bitmap = bitmap;
    if (this.resting) this.rest();
    if (one !== this.last) this.shownAt = performance.now() / 1000 - one.header.old;
    this.last = one;
  }

  /** Paint what was decoded; returns how many pictures the server may count as drawn. */
  paint() {
    if (this.bitmap) draw(this.canvas, this.bitmap, this.last.header.people, this.large);
    const drawn = this.done - this.told;
    this.told = this.done;
    return drawn;
  }

  /** Out of sight: only the packed picture is kept, for hundreds of cameras must fit into memory. */
  rest() {
    this.resting = true;
    this.bitmap?.close();
    this.bitmap = null;
    this.canvas.width = 0;
  }

  /** In sight again: with the last picture, until there is a newer one. */
  wake() {
    this.resting = false;
    if (this.last && !this.bitmap && !this.decoding) {
      this.next = this.last;
      this.decode();
    }
  }
}

function rows(list, pairs) {
  while (list.children.length > pairs.length) list.lastChild.remove();
  while (list.children.length < pairs.length) list.append(make("div", {}, make("dt"), make("dd")));
  pairs.forEach(([name, value], i) => {
    put(list.children[i].firstChild, name);
    put(list.children[i].lastChild, value);
  });
}
