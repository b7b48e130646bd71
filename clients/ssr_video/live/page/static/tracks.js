// The table of tracks that ended lately.

import { make, put } from "./dom.js";
import { clock, intervalLabel } from "./words.js";

export class Tracks {
  /** `parts`: elements table, empty, camera (a select). */
  constructor(parts) {
    this.parts = parts;
    this.tracks = [];
    parts.camera.addEventListener("change", () => this.paint());
  }

  /** The newest tracks, and the names of all cameras, in the watch's order. */
  update(tracks, cameras) {
    const names = cameras.join("\n");
    if (names !== this.names) {
      this.names = names;
      this.choices(cameras);
      this.paint();
    }
    if (tracks) {
      this.tracks = tracks;
      this.paint();
    }
  }

  choices(cameras) {
    const { camera } = this.parts;
    const chosen = camera.value;
    camera.replaceChildren(camera.options[0], ...cameras.map((name) => make("option", { value: name }, name)));
    camera.value = cameras.includes(chosen) ? chosen : "";
  }

  paint() {
    const { table, empty, camera } = this.parts;
    const shown = this.tracks.filter((track) => camera.value === "" || track.camera === camera.value);
    table.hidden = shown.length === 0;
    empty.hidden = shown.length > 0;
    put(empty, this.tracks.length === 0 ? "No track has ended yet." : `Of ${camera.value}, none of the last ${this.tracks.length} tracks.`);
    table.tBodies[0].replaceChildren(...shown.map(row));
  }
}

function row(track) {
  const age = track.age === null ? "unknown" : track.age.toFixed(1);
  return make(
    "tr",
    {},
    make("td", {}, track.camera),
    make("td", {}, make("time", { datetime: track.utc ?? undefined, title: track.utc ?? undefined }, clock(track.utc))),
    make("td", { class: "number" }, (track.last - track.first).toFixed(1)),
    make("td", { class: "number", title: track.unknown ?? undefined }, age),
    make("td", {}, intervalLabel(track.interval)),
    make("td", { class: "number" }, String(track.looks)),
    make("td", {}, (track.zones ?? []).join(", ")),
  );
}
