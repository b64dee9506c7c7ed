/* The last five minutes of a channel on a few pixels: for every five seconds a bar, as high as the negative
   emotions were strong, over a strip in the color of the likeliest emotion. Silence leaves a gap. */

import { LABELS } from "../shared/emotions.js";
import { POINT_MS, SPARK_POINTS } from "./store.js";

/** @import { Spark } from "./store.js" */

const STRIP = 4; // px
const dark = matchMedia("(prefers-color-scheme: dark)");

/** @type {{labels: string[], track: string} | undefined} those of the theme that is on */
let colors;
dark.addEventListener("change", () => (colors = undefined));

function themeColors() {
  if (!colors) {
    const css = getComputedStyle(document.documentElement);
    const color = (/** @type {string} */ name) => css.getPropertyValue(`--${name}`).trim();
    colors = { labels: LABELS.map(color), track: color("track") };
  }
  return colors;
}

/** `age`: ms since the session began, which is the right edge.
 *  @param {HTMLCanvasElement} canvas @param {Spark} spark @param {number} age
 *  @param {{width: number, height: number}} size in px */
export function drawSpark(canvas, { from, points }, age, { width, height }) {
  const scale = devicePixelRatio;
  if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
  if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
  const paint = canvas.getContext("2d");
  if (!paint) return;
  const { track, labels } = themeColors();
  paint.setTransform(scale, 0, 0, scale, 0, 0);
  paint.clearRect(0, 0, width, height);
  paint.fillStyle = track;
  paint.fillRect(0, height - STRIP, width, STRIP);
  const slot = width / SPARK_POINTS;
  const first = slotOf(age) - SPARK_POINTS + 1; // number of the point at the left edge
  points.forEach((point, i) => {
    const x = (from + i - first) * slot;
    if (point === null || x < 0) return;
    const negative = (point % 100) / 99;
    const bar = negative * (height - STRIP - 2);
    paint.fillStyle = labels[Math.floor(point / 100)];
    paint.fillRect(x, height - STRIP, Math.max(1, slot - 0.5), STRIP);
    paint.globalAlpha = 0.35 + 0.65 * negative;
    paint.fillRect(x, height - STRIP - 1 - bar, Math.max(1, slot - 0.5), bar);
    paint.globalAlpha = 1;
  });
}

/** @param {number} age in ms */
export function slotOf(age) {
  return Math.floor(age / POINT_MS);
}
