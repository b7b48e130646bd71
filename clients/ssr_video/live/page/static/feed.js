// The page's one connection: news and pictures in, what is on the screen out. It comes back by itself.

export const SILENCE = 6000; // ms without news, after which the connection counts as dead
const FIRST_WAIT = 500;
const LONGEST_WAIT = 15000;

/** Milliseconds before try number `attempt`, from 0: doubled each time, and spread. */
export function wait(attempt, random = Math.random) {
  const longest = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** Math.min(attempt, 10));
  return longest * (0.5 + random() / 2);
}

/** Header and JPEG of a binary message: 4 bytes of the header's length, big-endian, the header, the rest. */
export function parsePicture(buffer) {
  const length = new DataView(buffer).getUint32(0);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  return { header, jpeg: new Uint8Array(buffer, 4 + length) };
}

/** Where the page's socket is, from the page's own address. */
export function liveUrl(location) {
  return `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}/live`;
}

/** `on`: `news(message)`, `picture(header, jpeg)`, `away(ms, reason)` when the next try waits, `back()`.
 * `open` makes a WebSocket, `after` and `forget` are setTimeout and clearTimeout. */
export class Feed {
  constructor(url, on, { open = (u) => new WebSocket(u), after = setTimeout, forget = clearTimeout } = {}) {
    this.url = url;
    this.on = on;
    this.open = open;
    this.after = (...words) => after(...words);
    this.forget = (timer) => forget(timer);
    this.attempt = 0;
    this.visible = [];
    this.timer = null;
    this.socket = null;
    this.heard = false;
  }

  /** Connect now, whatever waits. */
  start() {
    this.forget(this.timer);
    this.leave();
    const socket = this.open(this.url);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.heard = false;
    socket.onopen = () => this.send({ visible: this.visible });
    socket.onmessage = ({ data }) => this.take(data);
    socket.onclose = ({ reason }) => this.lost(reason);
    this.watch();
  }

  /** These cameras are on the screen. */
  look(names) {
    if (names.length === this.visible.length && names.every((name, i) => name === this.visible[i])) return;
    this.visible = names;
    this.send({ visible: names });
  }

  /** So many pictures of each camera were dealt with. */
  drawn(counts) {
    this.send({ drawn: counts });
  }

  send(message) {
    if (this.socket?.readyState === 1) this.socket.send(JSON.stringify(message));
  }

  take(data) {
    if (typeof data !== "string") {
      const { header, jpeg } = parsePicture(data);
      this.on.picture(header, jpeg);
      return;
    }
    this.watch();
    this.attempt = 0;
    if (!this.heard) {
      this.heard = true;
      this.on.back();
    }
    this.on.news(JSON.parse(data));
  }

  /** A connection that says nothing is dead, whatever the network thinks of it. */
  watch() {
    this.forget(this.timer);
    this.timer = this.after(() => this.lost("no news from the server"), SILENCE);
  }

  lost(reason) {
    this.forget(this.timer);
    this.leave();
    const ms = wait(this.attempt);
    this.attempt += 1;
    this.on.away(ms, reason);
    this.timer = this.after(() => this.start(), ms);
  }

  /** Let go of the socket; what it says later is nobody's. */
  leave() {
    const socket = this.socket;
    this.socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    if (socket.readyState <= 1) socket.close();
  }
}
