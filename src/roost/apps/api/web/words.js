// Numbers and times in words, as the command line says them.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const STEPS = [[86400, "d"], [3600, "h"], [60, "min"]];

/** Bytes with three significant digits. */
export function size(bytes) {
  let value = bytes, unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) { value /= 1024; unit += 1; }
  const digits = unit === 0 ? 0 : value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

export const rate = (bytes) => `${size(bytes)}/s`;

/** Seconds in their largest unit. */
export function span(seconds) {
  if (seconds < 9.95) return `${Math.max(0, seconds).toFixed(1)} s`;
  for (const [length, name] of STEPS) if (seconds >= length) return `${Math.floor(seconds / length)} ${name}`;
  return `${Math.round(seconds)} s`;
}

/** How long ago an RFC 3339 time was. */
export function ago(text) {
  if (!text) return "never";
  const seconds = (Date.now() - Date.parse(text)) / 1000;
  return seconds < 60 ? "just now" : `${span(seconds)} ago`;
}

/** How long until an RFC 3339 time. */
export function until(text) {
  const seconds = (Date.parse(text) - Date.now()) / 1000;
  return seconds > 0 ? `for ${span(seconds)} more` : "until its space is needed";
}

export const counted = (count, word, plural) => `${count.toLocaleString("en")} ${count === 1 ? word : plural ?? `${word}s`}`;

export const percent = (part, whole) => (whole ? Math.round((100 * part) / whole) : 0);

/** The classes and words of health and of a node's state. */
export const HEALTH = { healthy: "good", degraded: "fair", "at-risk": "bad", lost: "bad", unknown: "fair" };
export const HEALTH_WORDS = { "at-risk": "one loss from lost", unknown: "not known" };
export const STATE = { alive: "good", draining: "fair", suspect: "fair", down: "bad", left: "off" };
