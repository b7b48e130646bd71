// All cameras: which are shown, which is enlarged, which are on the screen.

import { step } from "./place.js";
import { Tile } from "./tile.js";

const NEAR = "150px"; // pictures are fetched for tiles so far outside the screen, too

export class Grid {
  /** `on`: `visible(names)` when other tiles are on the screen, `drawn(counts)` when pictures were.
   * `time`: gives monotonic seconds, and milliseconds by the server's clock. */
  constructor(list, on, time) {
    this.list = list;
    this.on = on;
    this.time = time;
    this.tiles = new Map();
    this.near = new Set();
    this.stale = new Set();
    this.shown = [];
    this.current = null;
    this.large = null;
    this.wanted = { text: "", state: null };
    this.sight = new IntersectionObserver((entries) => this.seen(entries), { rootMargin: NEAR });
    this.sizes = new ResizeObserver((entries) => entries.forEach(({ target }) => this.dirty(target.tile)));
    list.addEventListener("click", (event) => this.click(event));
    list.addEventListener("focusin", (event) => this.focused(event.target.closest(".tile")?.tile));
    document.addEventListener("visibilitychange", () => this.tell());
  }

  /** New statuses, in the watch's order; `now`: seconds, monotonic. */
  update(cameras, now) {
    const names = new Set(cameras.map(({ name }) => name));
    for (const [name, tile] of this.tiles) if (!names.has(name)) this.remove(tile);
    cameras.forEach((camera, i) => {
      let tile = this.tiles.get(camera.name);
      if (!tile) {
        tile = new Tile(camera.name, (one) => this.dirty(one));
        tile.element.tile = tile.canvas.tile = tile;
        this.tiles.set(camera.name, tile);
        this.sight.observe(tile.element);
        this.sizes.observe(tile.canvas);
      }
      if (this.list.children[i] !== tile.element) this.list.insertBefore(tile.element, this.list.children[i] ?? null);
      tile.update(camera, now);
    });
    this.choose();
  }

  remove(tile) {
    if (this.large === tile) this.close();
    this.sight.unobserve(tile.element);
    this.sizes.unobserve(tile.canvas);
    tile.rest();
    tile.element.remove();
    this.tiles.delete(tile.name);
    this.near.delete(tile.name);
    this.stale.delete(tile);
    if (this.current === tile) this.current = null;
  }

  /** What goes on between two snapshots. */
  tick() {
    const time = this.time();
    for (const tile of this.tiles.values()) tile.tick(...time);
  }

  /** Show only cameras whose name holds `text`, and of one state, or of any: null. */
  only(text, state) {
    this.wanted = { text: text.trim().toLowerCase(), state };
    this.choose();
  }

  choose() {
    const { text, state } = this.wanted;
    this.shown = [...this.list.children].map(({ tile }) => tile).filter((tile) => {
      const show = tile === this.large
        || (tile.name.toLowerCase().includes(text) && (state === null || tile.camera.state === state));
      tile.element.hidden = !show;
      return show;
    });
    if (!this.shown.includes(this.current)) this.focused(this.shown[0]);
    this.tell();
  }

  /** One tile of the grid takes part in the order of Tab; the arrow keys reach the others. */
  focused(tile) {
    if (this.current === tile) return;
    if (this.current) this.tabs(this.current, "-1");
    this.current = tile ?? null;
    if (tile) this.tabs(tile, "0");
  }

  tabs(tile, index) {
    tile.button.tabIndex = tile.dropped.tabIndex = index;
  }

  go(tile) {
    if (!tile) return;
    this.focused(tile);
    tile.button.focus();
    tile.element.scrollIntoView({ block: "nearest" });
  }

  click(event) {
    const tile = event.target.closest(".picture")?.closest(".tile").tile;
    if (tile && tile === this.large) this.close();
    else if (tile) this.open(tile);
  }

  /** Handles arrows, Home, End and Esc; returns whether it did. */
  key(event) {
    if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey) return false;
    if (event.key === "Escape" && this.large) {
      event.preventDefault();
      this.close();
      return true;
    }
    const at = this.shown.indexOf(this.current);
    const to = step(event.key, Math.max(at, 0), this.large ? 1 : this.columns(), this.shown.length);
    const inside = this.list.contains(document.activeElement);
    const known = inside ? /^(Arrow|Home$|End$)/ : /^Arrow/;
    if (!known.test(event.key) || (to === at && inside)) return false;
    event.preventDefault();
    const tile = this.shown[inside ? to : Math.max(at, 0)];
    if (this.large && tile !== this.large) this.open(tile);
    else this.go(tile);
    return true;
  }

  columns() {
    const tops = this.shown.map(({ element }) => element.offsetTop);
    const first = tops.findIndex((top) => top !== tops[0]);
    return first < 0 ? Math.max(1, tops.length) : first;
  }

  /** Over the whole window: the others are neither seen nor reached meanwhile. */
  open(tile) {
    const before = this.large;
    this.large = tile;
    tile.large = true;
    tile.element.classList.add("large");
    if (before) this.shrink(before);
    document.body.classList.add("one");
    this.reach();
    this.choose();
    this.go(tile);
    this.dirty(tile);
  }

  close() {
    const tile = this.large;
    this.large = null;
    this.shrink(tile);
    document.body.classList.remove("one");
    this.reach();
    this.choose();
    if (!tile.element.hidden) this.go(tile);
  }

  shrink(tile) {
    tile.large = false;
    tile.element.classList.remove("large");
    this.dirty(tile);
  }

  /** Nothing beside an enlarged tile takes the focus. */
  reach() {
    for (const element of document.querySelectorAll("header, aside, .skip")) element.inert = this.large !== null;
    for (const tile of this.tiles.values()) tile.element.inert = this.large !== null && tile !== this.large;
  }

  seen(entries) {
    for (const { target, isIntersecting } of entries) {
      const { tile } = target;
      if (!this.tiles.has(tile.name)) continue;
      if (isIntersecting) {
        this.near.add(tile.name);
        tile.wake();
      } else {
        this.near.delete(tile.name);
        tile.rest();
      }
    }
    this.tell();
  }

  /** Say which cameras' pictures are looked at: none, while the window is hidden. */
  tell() {
    const hidden = document.visibilityState === "hidden";
    const looked = this.shown.filter((tile) => (this.large ? tile === this.large : this.near.has(tile.name)));
    this.on.visible(hidden ? [] : looked.map(({ name }) => name));
  }

  take(header, jpeg) {
    const tile = this.tiles.get(header.camera);
    if (tile) tile.take(header, jpeg);
    else this.on.drawn({ [header.camera]: 1 });
  }

  /** Paint at the screen's pace. A window that is not painted acknowledges nothing, and gets nothing. */
  dirty(tile) {
    if (this.stale.size === 0) requestAnimationFrame(() => this.paint());
    this.stale.add(tile);
  }

  paint() {
    const counts = {};
    for (const tile of this.stale) {
      const drawn = tile.paint();
      if (drawn > 0) counts[tile.name] = drawn;
      if (drawn > 0 && !tile.over.hidden) tile.tick(...this.time());
    }
    this.stale.clear();
    if (Object.keys(counts).length) this.on.drawn(counts);
  }
}
