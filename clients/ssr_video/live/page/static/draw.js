// A camera's picture on a canvas, with boxes and ages at the screen's own resolution.

import { fit, labelPlace } from "./place.js";
import { ageLabel } from "./words.js";

const KNOWN = "#ffd166";
const UNKNOWN = "#e8edf2";
const DARK = "rgba(8, 12, 18, 0.8)";

/** Give the canvas the pixels that it has on the screen; returns whether it has any. */
export function resize(canvas, ratio = window.devicePixelRatio || 1) {
  const width = Math.round(canvas.clientWidth * ratio);
  const height = Math.round(canvas.clientHeight * ratio);
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  return width > 0 && height > 0;
}

/** `people` as in the picture's header; `large`: there is room for tracks and zones. */
export function draw(canvas, bitmap, people, large) {
  if (!resize(canvas)) return;
  const ratio = canvas.width / canvas.clientWidth;
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  const outer = fit(bitmap.width, bitmap.height, canvas.width, canvas.height);
  context.drawImage(bitmap, ...outer);
  const size = (large ? 15 : 12) * ratio;
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  const places = people.map(({ box }) => [
    outer[0] + box[0] * outer[2],
    outer[1] + box[1] * outer[3],
    box[2] * outer[2],
    box[3] * outer[3],
  ]);
  people.forEach((person, i) => frame(context, places[i], person.age === null, ratio));
  people.forEach((person, i) => label(context, person, places[i], outer, size, large));
}

function frame(context, place, unknown, ratio) {
  context.setLineDash(unknown ? [5 * ratio, 4 * ratio] : []);
  context.lineWidth = 4 * ratio;
  context.strokeStyle = "rgba(8, 12, 18, 0.55)";
  context.strokeRect(...place);
  context.lineWidth = 2 * ratio;
  context.strokeStyle = unknown ? UNKNOWN : KNOWN;
  context.strokeRect(...place);
  context.setLineDash([]);
}

function label(context, person, place, outer, size, large) {
  const text = [ageLabel(person), ...(large ? [`#${person.track}`, ...(person.zones || [])] : [])].join("  ");
  const width = context.measureText(text).width + size * 0.7;
  const height = size * 1.4;
  const [x, y] = labelPlace(place, width, height, outer);
  context.fillStyle = DARK;
  context.fillRect(x, y, width, height);
  context.fillStyle = person.age === null ? UNKNOWN : KNOWN;
  context.fillText(text, x + size * 0.35, y + height / 2);
}
