/* What is drawn of a recording as one picture: its name, its likeliest emotions, the canvases, and whose color is
   whose. */

import { EMOTIONS } from "../shared/emotions.js";
import { names, percent } from "../shared/text.js";

const EDGE = 16; // px around it
const HEAD = 58;
const FOOT = 34;
const FONT = "Inter, system-ui, sans-serif";

/** @param {string} title @param {number[]} row its scores
 *  @param {HTMLCanvasElement[]} canvases one below the other
 *  @returns {Promise<Blob>} */
export async function pictureOf(title, row, canvases) {
  const css = getComputedStyle(canvases[0]);
  const color = (/** @type {string} */ name) => css.getPropertyValue(`--${name}`).trim();
  const width = canvases[0].clientWidth;
  const height = canvases.reduce((sum, { clientHeight }) => sum + clientHeight, 0);
  const picture = document.createElement("canvas");
  picture.width = (width + 2 * EDGE) * devicePixelRatio;
  picture.height = (height + HEAD + FOOT) * devicePixelRatio;
  const ctx = picture.getContext("2d");
  if (!ctx) throw new Error("no canvas to draw on");
  ctx.scale(devicePixelRatio, devicePixelRatio);
  ctx.fillStyle = color("card");
  ctx.fillRect(0, 0, width + 2 * EDGE, height + HEAD + FOOT);
  ctx.fillStyle = color("ink");
  ctx.font = `600 15px ${FONT}`;
  ctx.fillText(title, EDGE, 26);
  ctx.font = `13px ${FONT}`;
  ctx.fillStyle = color("soft");
  ctx.fillText(likeliest(row), EDGE, 46);
  let y = HEAD;
  for (const canvas of canvases) {
    ctx.drawImage(canvas, EDGE, y, canvas.clientWidth, canvas.clientHeight);
    y += canvas.clientHeight;
  }
  EMOTIONS.forEach(({ label }, i) => {
    const x = EDGE + (i * width) / EMOTIONS.length;
    ctx.fillStyle = color(label);
    ctx.fillRect(x, y + 12, 10, 10);
    ctx.fillStyle = color("soft");
    ctx.fillText(names(label)[0], x + 15, y + 22, width / EMOTIONS.length - 20);
  });
  return new Promise((done, failed) => {
    picture.toBlob((blob) => (blob ? done(blob) : failed(new Error("no picture"))));
  });
}

/** The three that lead.
 *  @param {number[]} row */
function likeliest(row) {
  const ranked = EMOTIONS.map(({ label }, i) => ({ label, p: row[i] })).sort((a, b) => b.p - a.p);
  return ranked
    .slice(0, 3)
    .filter(({ p }) => p > 0)
    .map(({ label, p }) => `${names(label)[0]} ${percent(p)}`)
    .join(" · ");
}
