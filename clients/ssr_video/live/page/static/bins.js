// People by age band over time, as bars: pure functions, numbers out.

/** Hours that are shown, and minutes of a bar. */
export const RANGES = { 1: 1, 6: 5, 24: 15 };

const MINUTE = 60000;

/** Keep what the watch tells of the minutes: `known` is a Map of milliseconds to people by band. */
export function merge(known, bands, now) {
  if (bands.whole) known.clear();
  for (const { utc, people } of bands.minutes) known.set(Date.parse(utc), people);
  for (const at of known.keys()) if (at < now - 24 * 60 * MINUTE) known.delete(at);
}

/** The bars of the last `hours`, oldest first, empty ones too: [{ start, end, people, total }]. */
export function bars(known, count, now, hours) {
  const width = RANGES[hours] * MINUTE;
  const number = (hours * 60) / RANGES[hours];
  const first = (Math.floor(now / width) + 1 - number) * width;
  const found = Array.from({ length: number }, (_, i) => ({
    start: first + i * width,
    end: first + (i + 1) * width,
    people: new Array(count).fill(0),
    total: 0,
  }));
  for (const [at, people] of known) {
    const bar = found[Math.floor((at - first) / width)];
    if (!bar) continue;
    people.forEach((value, i) => {
      bar.people[i] += value;
      bar.total += value;
    });
  }
  return found;
}

/** Where an axis from 0 to `most` has its marks: whole numbers, five of them at most above 0. */
export function marks(most) {
  if (most <= 0) return [0, 1];
  const power = 10 ** Math.floor(Math.log10(most));
  const width = [0.2, 0.5, 1, 2].map((part) => Math.max(1, part * power)).find((one) => Math.ceil(most / one) <= 5);
  return Array.from({ length: Math.ceil(most / width) + 1 }, (_, i) => Math.round(i * width));
}

/** A band's colour, of `count` in order of age: from violet to yellow, lighter with age. The last, unknown,
 * is grey. Readable on the background of either theme. */
export function colour(index, count, dark) {
  const [from, to] = dark ? [0.5, 0.87] : [0.36, 0.74];
  if (index === count - 1) return `oklch(${dark ? 0.6 : 0.66} 0.01 250)`;
  const part = count > 2 ? index / (count - 2) : 0;
  const hue = (300 - 220 * part + 360) % 360;
  return `oklch(${(from + (to - from) * part).toFixed(3)} 0.13 ${hue.toFixed(0)})`;
}
