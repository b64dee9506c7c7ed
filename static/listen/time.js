/* Times and sizes as people read them. */

import { t } from "../shared/text.js";

/** 1:07, 1:02:07; with one decimal 1:07.4. Nothing is rounded up: a clock shows what has passed.
 *  @param {number} seconds */
export function clockOf(seconds, decimals = 0) {
  const unit = 10 ** decimals;
  const parts = Math.max(0, Math.floor(seconds * unit + 1e-6));
  const whole = Math.floor(parts / unit);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  const rest = decimals ? `.${String(parts % unit).padStart(decimals, "0")}` : "";
  return `${h ? `${h}:${two(m)}` : m}:${two(s)}${rest}`;
}

/** A length: "20.7 s", from a minute on "3:07", from an hour on "2:03:07".
 *  @param {number} seconds */
export function length(seconds) {
  return seconds < 59.95 ? t("duration", { s: seconds.toFixed(1) }) : clockOf(seconds + 0.5);
}

/** How long something took.
 *  @param {number} ms */
export function took(ms) {
  return ms < 1000 ? t("ms", { ms: Math.round(ms) }) : length(ms / 1000);
}

/** A size.
 *  @param {number} count */
export function bytes(count) {
  const units = ["B", "KB", "MB", "GB"];
  let size = count;
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit++;
  }
  return `${unit === 0 || size >= 99.95 ? Math.round(size) : size.toFixed(1)}\u00a0${units[unit]}`;
}
