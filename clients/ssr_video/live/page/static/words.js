// How the page says things: pure functions, text out.

const NUMBER = new Intl.NumberFormat("en");

/** The state's mark and how its total is named; colour comes from the style sheet. */
export const STATES = {
  live: { icon: "●" },
  connecting: { icon: "◌" },
  lost: { icon: "▲" },
  stopped: { icon: "■" },
};

/** Why a frame was not worked on. `meant`: the camera's settings ask for it. */
export const CAUSES = {
  stale: { words: "waited too long" },
  behind: { words: "decoding was late" },
  limit: { words: "over the camera's limit", meant: true },
  "server away": { words: "no server answered" },
  unreadable: { words: "could not be decoded" },
};

export function number(value) {
  return NUMBER.format(value);
}

/** `1 person`, `2 people`. */
export function counted(value, one, many) {
  return `${number(value)} ${value === 1 ? one : many}`;
}

/** `36 (31–41)` for a label; `?` where the age is unknown. */
export function ageLabel(person) {
  if (person.age === null || person.age === undefined) return "?";
  const interval = person.interval ? ` (${intervalLabel(person.interval)})` : "";
  return `${Math.round(person.age)}${interval}`;
}

/** `31–41`, or nothing where the model is not calibrated. */
export function intervalLabel(interval) {
  return interval ? `${Math.round(interval[0])}–${Math.round(interval[1])}` : "";
}

/** `36 years (31 to 41)`, `age unknown: too small`. */
export function ageWords(person) {
  if (person.age === null || person.age === undefined) {
    return person.unknown ? `age unknown: ${person.unknown}` : "age unknown";
  }
  const [first, last] = (person.interval || []).map(Math.round);
  return `${Math.round(person.age)} years${person.interval ? ` (${first} to ${last})` : ""}`;
}

/** `140 ms`, `2.3 s`; a dash where there is nothing to measure. */
export function latency(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  return seconds < 0.9995 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`;
}

/** `12 s`, `3 min`, `2 h 5 min`, `3 d 4 h`. */
export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const minutes = Math.floor(whole / 60);
  const hours = Math.floor(minutes / 60);
  const days = Math.floor(hours / 24);
  const and = (value, unit) => (value ? ` ${value} ${unit}` : "");
  if (days) return `${days} d${and(hours % 24, "h")}`;
  if (hours) return `${hours} h${and(minutes % 60, "min")}`;
  return minutes ? `${minutes} min` : `${whole} s`;
}

/** What comes next for a camera that is lost; `nextTry`: seconds at the snapshot, `elapsed`: since then. */
export function countdown(nextTry, elapsed) {
  const left = Math.ceil((nextTry ?? 0) - elapsed);
  return left > 0 ? `next try in ${duration(left)}` : "trying now";
}

/** Frames that were dropped against the camera's settings, since the watch began. */
export function faults(dropped) {
  return Object.entries(dropped)
    .filter(([cause]) => !CAUSES[cause]?.meant)
    .reduce((sum, [, count]) => sum + count, 0);
}

/** By how much a total grew within the last `seconds`; `history`: [seconds, total], oldest first. A total
 * that fell began anew. Forgets what is older. */
export function grown(history, seconds) {
  const [now] = history[history.length - 1];
  while (history.length > 2 && history[1][0] <= now - seconds) history.shift();
  let sum = 0;
  for (let i = 1; i < history.length; i += 1) {
    const step = history[i][1] - history[i - 1][1];
    sum += step < 0 ? history[i][1] : step;
  }
  return sum;
}

/** Local time of day; with the day, where that is not the day of `now`. */
export function clock(utc, now = new Date()) {
  const moment = new Date(utc);
  if (Number.isNaN(moment.getTime())) return "";
  const two = (value) => String(value).padStart(2, "0");
  const time = [moment.getHours(), moment.getMinutes(), moment.getSeconds()].map(two).join(":");
  if (moment.toDateString() === now.toDateString()) return time;
  return `${moment.getFullYear()}-${two(moment.getMonth() + 1)}-${two(moment.getDate())} ${time}`;
}

/** What is read out when cameras change; `before` and `after`: name to state. Empty if nothing is. */
export function changes(before, after, why = {}) {
  const told = [];
  for (const [name, state] of Object.entries(after)) {
    if (name in before && before[name] !== state && state !== "connecting") {
      told.push(`${name} is ${state}${why[name] ? `: ${why[name]}` : ""}`);
    }
  }
  if (told.length <= 3) return told.join(". ");
  return `${told.slice(0, 2).join(". ")}. And ${told.length - 2} more cameras changed`;
}
