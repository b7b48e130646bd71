// As much of a browser as the page needs, without layout and painting, for where there is no real one.
//
// node --experimental-websocket page_dom.mjs FOLDER http://127.0.0.1:8080/
// FOLDER holds the page's files. Each line of standard input is an expression, each line of output its value as
// JSON: {"value": ...} or {"error": ...}. `problems` lists what a browser would show as errors.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [folder, address] = process.argv.slice(2);
const EMPTY = new Set(["meta", "link", "input"]);
const problems = [];
const observers = [];
let wide = 320;

class Event {
  constructor(type, fields = {}) {
    Object.assign(this, { type, bubbles: false, defaultPrevented: false }, fields);
  }
  preventDefault() { this.defaultPrevented = true; }
}

class Target {
  handlers = {};
  addEventListener(type, handler) { (this.handlers[type] ??= []).push(handler); }
  dispatchEvent(event) {
    event.target ??= this;
    for (const handler of this.handlers[event.type] ?? []) handler(event);
    if (event.bubbles && this.parentNode) this.parentNode.dispatchEvent(event);
  }
}

class Node extends Target {
  parentNode = null;
  remove() {
    if (!this.parentNode) return;
    if (this.contains?.(document.activeElement)) document.activeElement = document.body;
    this.parentNode.childNodes = this.parentNode.childNodes.filter((one) => one !== this);
    this.parentNode = null;
  }
}

class Text extends Node {
  constructor(text) { super(); this.textContent = String(text); }
}

class Element extends Node {
  childNodes = [];
  attributes = new Map();
  style = { setProperty(name, value) { this[name] = value; } };
  scrollTop = 0;
  width = 300;
  height = 150;

  constructor(tag) { super(); this.localName = tag; }
  get children() { return this.childNodes.filter((one) => one instanceof Element); }
  get firstChild() { return this.childNodes[0] ?? null; }
  get lastChild() { return this.childNodes.at(-1) ?? null; }
  get firstElementChild() { return this.children[0] ?? null; }
  get textContent() { return this.childNodes.map((one) => one.textContent).join(""); }
  set textContent(text) { this.replaceChildren(text); }
  append(...nodes) { nodes.forEach((one) => this.insertBefore(one, null)); }
  insertBefore(node, before) {
    const child = node instanceof Node ? node : new Text(node);
    child.remove();
    const at = before ? this.childNodes.indexOf(before) : this.childNodes.length;
    this.childNodes.splice(at, 0, child);
    child.parentNode = this;
  }
  replaceChildren(...nodes) {
    for (const child of [...this.childNodes]) child.remove();
    this.append(...nodes);
  }
  contains(node) { return node === this || (node?.parentNode ? this.contains(node.parentNode) : false); }
  getAttribute(name) { return this.attributes.get(name) ?? null; }
  setAttribute(name, value) { this.attributes.set(name, String(value)); }
  removeAttribute(name) { this.attributes.delete(name); }
  get classList() {
    const list = () => (this.getAttribute("class") ?? "").split(/\s+/).filter(Boolean);
    const set = (names) => this.setAttribute("class", names.join(" "));
    return {
      contains: (name) => list().includes(name),
      add: (name) => set([...new Set([...list(), name])]),
      remove: (name) => set(list().filter((one) => one !== name)),
      toggle(name, on) { on ? this.add(name) : this.remove(name); },
    };
  }
  matches(selector) {
    return selector.split(",").some((one) => {
      const steps = one.trim().split(/ +(?![^[]*\])/);
      if (!this.fits(steps.pop())) return false;
      return steps.length === 0 || Boolean(this.parentNode?.closest?.(steps.join(" ")));
    });
  }
  fits(step) {
    const [, tag, rest] = step.match(/^([a-z0-9]*)(.*)$/);
    return (!tag || tag === this.localName) && (rest.match(/[.#][\w-]+|\[[^\]]+\]/g) ?? []).every((part) => {
      if (part[0] === ".") return this.classList.contains(part.slice(1));
      if (part[0] === "#") return this.getAttribute("id") === part.slice(1);
      const [name, value] = part.slice(1, -1).split("=");
      return this.attributes.has(name) && (value === undefined || this.getAttribute(name) === JSON.parse(value));
    });
  }
  closest(selector) { return this.matches(selector) ? this : (this.parentNode?.closest?.(selector) ?? null); }
  *all() { for (const child of this.children) { yield child; yield* child.all(); } }
  querySelectorAll(selector) { return [...this.all()].filter((one) => one.matches(selector)); }
  querySelector(selector) { return this.querySelectorAll(selector)[0] ?? null; }
  focus() {
    if (this.inert || document.activeElement === this) return;
    document.activeElement.dispatchEvent(new Event("blur"));
    document.activeElement = this;
    this.dispatchEvent(new Event("focusin", { bubbles: true }));
  }
  blur() { document.activeElement = document.body; this.dispatchEvent(new Event("blur")); }
  click() { this.dispatchEvent(new Event("click", { bubbles: true })); }
  scrollIntoView() {}
  showModal() { this.open = true; }
  getBoundingClientRect() { return { left: 0, top: 0, width: wide, height: 180 }; }
  get clientWidth() { return this.shown() ? wide : 0; }
  get clientHeight() { return this.shown() ? 180 : 0; }
  get offsetTop() { return Math.floor(this.parentNode.children.indexOf(this) / 3) * 200; }
  shown() { return !this.hidden && (this.parentNode?.shown?.() ?? true); }
  get tabIndex() { return Number(this.getAttribute("tabindex") ?? 0); }
  set tabIndex(value) { this.setAttribute("tabindex", value); }
  get value() { return this.typed ?? (this.localName === "select" ? this.options[0]?.value : this.getAttribute("value")) ?? ""; }
  set value(text) { this.typed = text; }
  get options() { return this.querySelectorAll("option"); }
  get rows() { return this.children.filter((one) => one.localName === "tr"); }
  get cells() { return this.children; }
  get tBodies() { return this.querySelectorAll("tbody"); }
  deleteRow(at) { this.rows.at(at).remove(); }
  getContext() {
    return (this.context ??= new Proxy({ drawn: 0, texts: [] }, {
      get: (found, name) => found[name] ?? ((...words) => {
        if (name === "drawImage") { found.drawn += 1; found.texts = []; }
        if (name === "fillText") found.texts.push(words[0]);
        return { width: 40 };
      }),
    }));
  }
}
for (const name of ["hidden", "inert", "open"]) {
  Object.defineProperty(Element.prototype, name, {
    get() { return this.attributes.has(name); },
    set(on) { on ? this.setAttribute(name, "") : this.removeAttribute(name); },
  });
}
Object.defineProperty(Element.prototype, "title", { set(text) { this.setAttribute("title", text); } });

function parse(html) {
  const root = new Element("#document");
  let at = root;
  for (const [, close, tag, words, text] of html.matchAll(/<!doctype[^>]*>|<(\/?)([a-z0-9]+)([^>]*)>|([^<]+)/g)) {
    if (text !== undefined) at.append(text);
    else if (close) at = at.parentNode;
    else if (tag) {
      const element = new Element(tag);
      for (const [, name, value] of words.matchAll(/([\w-]+)(?:="([^"]*)")?/g)) element.setAttribute(name, value ?? "");
      at.append(element);
      if (!EMPTY.has(tag)) at = element;
    }
  }
  return root;
}

const root = parse(readFileSync(`${folder}/index.html`, "utf-8"));
const document = Object.assign(root, {
  visibilityState: "visible",
  documentElement: root.querySelector("html"),
  body: root.querySelector("body"),
  createElement: (tag) => new Element(tag),
  createElementNS: (_, tag) => new Element(tag),
  getElementById: (id) => root.querySelector(`#${id}`),
});
document.activeElement = document.body;

class Observer {
  constructor(call) { this.call = call; observers.push(this); }
  observe(target) { setTimeout(() => this.call([{ target, isIntersecting: true }])); }
  unobserve() {}
}
class IntersectionObserver extends Observer {
  /** Scroll a tile into sight or out of it. */
  static scroll(target, isIntersecting) {
    for (const one of observers) if (one instanceof IntersectionObserver) one.call([{ target, isIntersecting }]);
  }
}
class ResizeObserver extends Observer {}

const page = new URL(address);
const Socket = globalThis.WebSocket;
const stored = new Map();
const window = new Target();
Object.assign(globalThis, {
  document,
  window: globalThis,
  problems,
  happens: (element, type, fields) => element.dispatchEvent(new Event(type, { bubbles: true, ...fields })),
  IntersectionObserver,
  ResizeObserver,
  location: Object.assign(page, { reload() { globalThis.reloaded = (globalThis.reloaded ?? 0) + 1; } }),
  devicePixelRatio: 2,
  addEventListener: (...words) => window.addEventListener(...words),
  requestAnimationFrame: (call) => setTimeout(call, 16),
  matchMedia: () => Object.assign(new Target(), { matches: false }),
  localStorage: { getItem: (name) => stored.get(name) ?? null, setItem: (name, value) => stored.set(name, value) },
  createImageBitmap: async (blob) => {
    const [first, second] = new Uint8Array(await blob.arrayBuffer());
    if (first !== 0xff || second !== 0xd8) throw new Error("no JPEG");
    return { width: 640, height: 360, close() {} };
  },
  WebSocket: class extends Socket {
    constructor(url) { super(url, { headers: { origin: page.origin } }); }
  },
});
const get = globalThis.fetch;
globalThis.fetch = (path, options) => get(new URL(path, address), options);
globalThis.key = (name, target = document.activeElement) => {
  const event = new Event("keydown", { key: name, bubbles: true });
  target.dispatchEvent(event);
  return event.defaultPrevented;
};
process.on("uncaughtException", (error) => problems.push(String(error.stack)));
process.on("unhandledRejection", (error) => problems.push(String(error.stack)));
console.error = console.warn = (...words) => problems.push(words.join(" "));

await import(pathToFileURL(`${folder}/page.js`));
console.log(JSON.stringify({ value: "ready" }));
for await (const line of createInterface({ input: process.stdin })) {
  try {
    console.log(JSON.stringify({ value: await (0, eval)(line) }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error) }));
  }
}
process.exit(0);
