// Numbers as text. Amounts of money are exact decimal strings and stay so: none goes through a float to be printed.

export const NONE = "–";

const grouped = new Intl.NumberFormat("en-GB");
const tenths = new Intl.NumberFormat("en-GB", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const compact = new Intl.NumberFormat("en-GB", { notation: "compact", maximumFractionDigits: 2 });
const DECIMAL = /^(-?)(\d+)(?:\.(\d+))?$/;

/** A count; null is one that could not be found out. */
export const integer = (value) => (value == null ? NONE : grouped.format(value));

/** A rate a second: one decimal while it is small. */
export const rate = (value) => (value == null ? NONE : value < 100 ? tenths.format(value) : grouped.format(Math.round(value)));

/** A label of an axis, which is a round number. */
export const tick = (value) => compact.format(value);

/** "1234.5" -> "1,234.50": every digit is kept, and there are at least two decimals. */
export function money(text) {
  const parts = DECIMAL.exec(text ?? "");
  if (!parts) return text ?? NONE;
  const [, sign, whole, fraction = ""] = parts;
  return `${sign && "−"}${grouped.format(BigInt(whole))}.${fraction.padEnd(2, "0")}`;
}

/** The exact sum of decimal strings, as a decimal string. */
export function sum(texts) {
  const parts = texts.map((text) => DECIMAL.exec(text)).filter(Boolean);
  const scale = Math.max(0, ...parts.map(([, , , fraction = ""]) => fraction.length));
  const total = parts.reduce(
    (running, [, sign, whole, fraction = ""]) => running + BigInt(sign + whole + fraction.padEnd(scale, "0")),
    0n,
  );
  const digits = String(total < 0n ? -total : total).padStart(scale + 1, "0");
  const whole = digits.slice(0, digits.length - scale);
  return `${total < 0n ? "-" : ""}${whole}${scale ? "." : ""}${digits.slice(digits.length - scale)}`;
}

/** Seconds since the epoch as the viewer's time of day. */
export const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en-GB");

export function age(seconds) {
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}
