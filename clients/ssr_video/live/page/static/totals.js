// The head of the page: cameras by state, people now, sinks.

import { make, mark, put } from "./dom.js";
import { STATES, counted, number } from "./words.js";

export class Totals {
  /** `parts`: elements totals, people, word, sinks; `only(state)`: show these cameras alone, null: all. */
  constructor(parts, only) {
    this.parts = parts;
    this.state = null;
    this.buttons = {};
    for (const [state, { icon }] of Object.entries(STATES)) {
      const count = make("b", {}, "0");
      const sign = make("span", { class: "icon", "aria-hidden": "true" }, icon);
      const button = make("button", { type: "button", "data-state": state, "aria-pressed": "false" }, sign, " ", count, ` ${state}`);
      button.addEventListener("click", () => {
        this.press(this.state === state ? null : state);
        only(this.state);
      });
      this.buttons[state] = { button, count };
      parts.totals.append(button);
    }
  }

  press(state) {
    this.state = state;
    for (const [name, { button }] of Object.entries(this.buttons)) mark(button, "aria-pressed", String(name === state));
  }

  update(cameras, sinks) {
    for (const [state, { button, count }] of Object.entries(this.buttons)) {
      const found = cameras.filter((camera) => camera.state === state).length;
      put(count, number(found));
      // What there is none of is no news, but for what matters most.
      button.hidden = found === 0 && !["live", "lost"].includes(state) && this.state !== state;
      mark(button, "data-none", found === 0 ? "" : null);
    }
    const people = cameras.filter(({ state }) => state === "live").reduce((sum, camera) => sum + camera.people.length, 0);
    put(this.parts.people, number(people));
    put(this.parts.word, people === 1 ? "person" : "people");
    this.sinks(sinks);
  }

  sinks(sinks) {
    const { sinks: details } = this.parts;
    const failing = sinks.filter((sink) => sink.failing !== null).length;
    details.hidden = sinks.length === 0;
    mark(details, "data-failing", failing ? "" : null);
    put(details.querySelector("summary"), failing ? `▲ ${counted(failing, "sink fails", "sinks fail")}` : `● ${counted(sinks.length, "sink", "sinks")}`);
    const body = details.querySelector("tbody");
    const rows = sinks.map((sink) => [sink.name, sink.failing ?? "delivers", ...[sink.waiting, sink.delivered, sink.lost].map(number)]);
    while (body.rows.length > rows.length) body.deleteRow(-1);
    rows.forEach((cells, i) => {
      if (!body.rows[i]) body.append(make("tr", {}, ...cells.map((_, column) => make("td", { class: column > 1 ? "number" : undefined }))));
      cells.forEach((text, column) => put(body.rows[i].cells[column], text));
    });
  }
}
