// Numbers for people.

const rounded = (value) => (value >= 100 ? Math.round(value).toString() : value >= 10 ? value.toFixed(1) : value.toFixed(2)).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");

/** Seconds, from microseconds on. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.001) return `${rounded(seconds * 1e6)} µs`;
  if (seconds < 1) return `${rounded(seconds * 1e3)} ms`;
  if (seconds < 120) return `${rounded(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}

/** Bytes, in powers of 1024. */
export function bytes(count) {
  if (count === null || count === undefined) return "–";
  let [value, unit] = [count, 0];
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  while (value >= 1024 && unit < units.length - 1) [value, unit] = [value / 1024, unit + 1];
  return `${rounded(value)} ${units[unit]}`;
}

/** A count, exact and grouped. */
export const count = (value) => value.toLocaleString("en", { maximumFractionDigits: 0 });

/** Something per second. */
export function rate(value) {
  if (value < 0.005) return "0";
  return value < 10000 ? rounded(value) : `${rounded(value / 1000)} k`;
}

/** A part of one. */
export const percent = (part) => `${rounded(part * 100)} %`;

/** A moment of the host, as how long ago it was by the host's own clock. */
export function ago(at, now) {
  const seconds = Math.max(0, now - at);
  return seconds < 2 ? "just now" : `${duration(seconds)} ago`;
}

/** A moment as the operator's clock shows it. */
export const clock = (at) => new Date(at * 1000).toLocaleString();

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;
