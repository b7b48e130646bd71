// Where things are on the screen: pure functions, numbers out.

/** The largest rectangle of a picture's shape inside another, in the middle: [x, y, width, height]. */
export function fit(width, height, outerWidth, outerHeight) {
  if (!(width > 0 && height > 0)) return [0, 0, outerWidth, outerHeight];
  const scale = Math.min(outerWidth / width, outerHeight / height);
  const [w, h] = [width * scale, height * scale];
  return [(outerWidth - w) / 2, (outerHeight - h) / 2, w, h];
}

/** A label of `width` by `height` for a box [x, y, width, height]: above it, below it, or in it, and inside
 * `outer` [x, y, width, height]. Returns [x, y]. */
export function labelPlace(box, width, height, outer) {
  const [left, top, w, h] = outer;
  const x = Math.min(Math.max(box[0], left), Math.max(left, left + w - width));
  if (box[1] - height >= top) return [x, box[1] - height];
  const below = box[1] + box[3];
  return [x, below + height <= top + h ? below : Math.max(top, box[1])];
}

/** Where a key leads in a grid of `count` in `columns`: the index, or `at` where it leads nowhere. */
export function step(key, at, columns, count) {
  const to = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - columns, ArrowDown: at + columns, Home: 0, End: count - 1 }[key];
  if (to === undefined || count === 0) return at;
  if (to >= 0 && to < count) return to;
  // Down from above an unfinished last row: its end.
  const rows = Math.ceil(count / columns);
  return key === "ArrowDown" && Math.floor(at / columns) < rows - 1 ? count - 1 : at;
}
