// Numbers, money and times, for people. Money stays whole micros: it is written and read digit by digit.
import { session } from "./api.js";

const counts = new Intl.NumberFormat("en-GB");
export const count = (value) => (value === undefined || value === null ? "–" : counts.format(value));

/** Micros as units of money, exactly: at least two decimals, more only where they say something. */
export function units(micros) {
  if (micros === undefined || micros === null) return "";
  const negative = micros < 0;
  const digits = String(Math.abs(micros)).padStart(7, "0");
  const whole = digits.slice(0, -6);
  let part = digits.slice(-6).replace(/0+$/, "");
  part = part.padEnd(2, "0");
  return `${negative ? "-" : ""}${whole}.${part}`;
}

/** Micros as money with its currency, grouped, at two decimals. */
export function money(micros) {
  if (micros === undefined || micros === null) return "–";
  const [whole, part] = units(micros).split(".");
  const text = `${whole.replace(/\B(?=(\d{3})+$)/g, ",")}.${part}`;
  return session.network ? `${text} ${session.network.currency}` : text;
}

/** Units of money as whole micros; NaN where that isn't what it says. */
export function micros(text) {
  const read = /^(-?)(\d{1,12})(?:[.,](\d{1,6}))?$/.exec(text.trim());
  if (!read) return NaN;
  const value = Number(read[2] + (read[3] ?? "").padEnd(6, "0"));
  return read[1] ? -value : value;
}

export function microseconds(us) {
  if (us === undefined || us === null) return "–";
  if (us < 1000) return `${us} µs`;
  if (us < 100_000) return `${(us / 1000).toFixed(us < 10_000 ? 2 : 1)} ms`;
  return `${(us / 1e6).toFixed(2)} s`;
}

export function percent(part, whole) {
  return whole > 0 ? `${((part / whole) * 100).toFixed(1)} %` : "–";
}

/** An RFC 3339 time, in UTC as the books have it. */
export function time(text) {
  return text ? text.replace("T", " ").replace(/(\.\d+)?Z$/, "") : "–";
}

export function hour(text) {
  return text ? text.slice(5, 16).replace("T", " ") : "–";
}

export function ago(text, now) {
  const seconds = Math.round((Date.parse(now) - Date.parse(text)) / 1000);
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 2) return "just now";
  if (seconds < 120) return `${seconds} s ago`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min ago`;
  return `${Math.round(seconds / 3600)} h ago`;
}

/** A stable word as words: `no_such_thing` → `no such thing`. */
export const words = (name) => String(name).replaceAll("_", " ");
export const shortId = (id) => (id ? `…${String(id).slice(-8)}` : "–");

/** The parts of a text between separators; what stands in double quotes is not parted. */
export function split(text, separator) {
  const parts = [];
  let part = "";
  let quoted = false;
  for (let index = 0; index < text.length; index += 1) {
    const letter = text[index];
    if (quoted && letter === "\\" && index + 1 < text.length) {
      index += 1;
      part += letter + text[index];
      continue;
    }
    if (letter === '"') quoted = !quoted;
    if (letter === separator && !quoted) {
      parts.push(part);
      part = "";
    } else part += letter;
  }
  parts.push(part);
  return parts.map((one) => one.trim()).filter(Boolean);
}

/** A value as it stands in a list: in double quotes where it would be parted or trimmed. */
export const quote = (value) => (/[",;=\\]|^\s|\s$|^$/.test(value) ? JSON.stringify(value) : value);

export function unquote(text) {
  if (!/^".*"$/s.test(text)) return text;
  try { return JSON.parse(text); } catch { return text; }
}

/** Values with commas between them, and back. */
export const list = (text) => split(text, ",").map(unquote);
export const joined = (values) => values.map(quote).join(", ");
