/* The waveform, each utterance in the color of its emotion with its face above, and the axis of time. What has not
   been scored yet is drawn back. What stretch is shown is the stage's business. */

import { emotionOf } from "../shared/emotions.js";
import { LEFT, RIGHT } from "./lines.js";
import { clockOf } from "./time.js";

const RIBBON = 28; // px above the waveform, for the faces
const AXIS = 24; // px below
const FACE_PX = 18; // a narrower utterance has its color only
const TICK_PX = 76;
const TICKS_S = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400];

/** @import { Peaks } from "./peaks.js" */
/** @import { Utterance } from "./utterances.js" */
/** What is in view, and where: `x(seconds)` in px.
 *  @typedef {{ctx: CanvasRenderingContext2D, from: number, to: number, height: number, left: number,
 *             right: number, color: (name: string) => string, x: (seconds: number) => number}} View */

export class Wave {
  /** @type {Peaks | null} */
  peaks = null;
  /** @type {Utterance[]} */
  utterances = [];
  /** @type {{at_ms: number, level: string}[]} */
  alerts = [];
  scoredS = Infinity;
  #canvas;

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.#canvas = canvas;
  }

  /** Draw [from, to] in seconds.
   *  @param {number} from @param {number} to */
  draw(from, to) {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const px = devicePixelRatio;
    if (this.#canvas.width !== Math.round(width * px)) this.#canvas.width = Math.round(width * px);
    if (this.#canvas.height !== Math.round(height * px)) this.#canvas.height = Math.round(height * px);
    const ctx = this.#canvas.getContext("2d");
    if (!ctx) return;
    const css = getComputedStyle(this.#canvas);
    const known = new Map(); // asked for every column
    const color = (/** @type {string} */ name) =>
      known.get(name) ?? known.set(name, css.getPropertyValue(`--${name}`).trim()).get(name);
    const right = width - RIGHT;
    const x = (/** @type {number} */ s) => LEFT + ((s - from) / (to - from)) * (right - LEFT);
    const view = { ctx, from, to, height, left: LEFT, right, color, x };
    ctx.setTransform(px, 0, 0, px, 0, 0);
    ctx.clearRect(0, 0, width, height);
    const seen = this.#seen(from, to);
    const emotions = this.#emotions(view, seen);
    this.#bands(view, emotions);
    this.#outline(view, emotions);
    this.#faces(view, seen);
    this.#flags(view);
    this.#axis(view);
  }

  /** The utterances that are in view; they are in order.
   *  @param {number} from @param {number} to */
  #seen(from, to) {
    return this.utterances.filter(
      ({ start_ms: start, end_ms: end }) => end > 1000 * from && start < 1000 * to,
    );
  }

  /** For each column of pixels the emotion that takes most of it, or undefined.
   *  @param {View} view @param {Utterance[]} seen */
  #emotions({ from, to, left, right }, seen) {
    const step = (1000 * (to - from)) / (right - left);
    /** @type {(string | undefined)[]} */
    const emotions = new Array(right - left);
    let first = 0; // in `seen`
    for (let column = 0; column < emotions.length; column++) {
      const [begin, end] = [1000 * from + column * step, 1000 * from + (column + 1) * step];
      while (first < seen.length && seen[first].end_ms <= begin) first++;
      let most = 0;
      for (let i = first; i < seen.length && seen[i].start_ms < end; i++) {
        const part = Math.min(end, seen[i].end_ms) - Math.max(begin, seen[i].start_ms);
        if (part > most) [most, emotions[column]] = [part, seen[i].emotion];
      }
    }
    return emotions;
  }

  /** @param {View} view @param {(string | undefined)[]} emotions */
  #bands({ ctx, left, height, color }, emotions) {
    for (let column = 0, end; column < emotions.length; column = end) {
      const emotion = emotions[column];
      for (end = column + 1; end < emotions.length && emotions[end] === emotion;) end++;
      if (!emotion) continue;
      ctx.fillStyle = color(emotion);
      ctx.globalAlpha = 0.13;
      ctx.fillRect(left + column, RIBBON, end - column, height - RIBBON - AXIS);
      ctx.globalAlpha = 1;
      ctx.fillRect(left + column, RIBBON - 3, end - column, 3);
    }
  }

  /** @param {View} view @param {(string | undefined)[]} emotions */
  #outline({ ctx, from, to, left, right, height, color }, emotions) {
    const middle = RIBBON + (height - RIBBON - AXIS) / 2;
    const half = ((height - RIBBON - AXIS) / 2 - 4) * (this.peaks?.gain ?? 1);
    const step = (to - from) / (right - left);
    ctx.fillStyle = color("line");
    ctx.fillRect(left, middle - 0.5, right - left, 1);
    if (!this.peaks) return;
    for (let column = 0; column < emotions.length; column++) {
      const time = from + column * step;
      const found = this.peaks.between(time, time + step);
      if (!found) break;
      const emotion = emotions[column];
      ctx.fillStyle = color(emotion ?? "soft");
      ctx.globalAlpha = emotion ? 1 : time > this.scoredS ? 0.35 : 0.6;
      const top = middle - found[1] * half;
      ctx.fillRect(left + column, top, 1, Math.max(1, (found[1] - found[0]) * half));
    }
    ctx.globalAlpha = 1;
  }

  /** @param {View} view @param {Utterance[]} seen */
  #faces({ ctx, x, left, right, color }, seen) {
    ctx.font = '15px "Apple Color Emoji", "Segoe UI Emoji", "Noto Color Emoji", sans-serif';
    ctx.textAlign = "center";
    ctx.fillStyle = color("ink");
    for (const { start_ms: start, end_ms: end, emotion } of seen) {
      const [from, to] = [Math.max(left, x(start / 1000)), Math.min(right, x(end / 1000))];
      if (to - from >= FACE_PX) ctx.fillText(emotionOf(emotion).emoji, (from + to) / 2, RIBBON - 9);
    }
  }

  /** Where an alert was raised: a line, and a flag on it.
   *  @param {View} view */
  #flags({ ctx, from, to, x, height, color }) {
    for (const { at_ms: at, level } of this.alerts) {
      if (at < 1000 * from || at > 1000 * to) continue;
      ctx.fillStyle = color({ info: "accent", warning: "warn" }[level] ?? "bad");
      ctx.fillRect(x(at / 1000) - 1, 0, 2, height - AXIS);
      ctx.fillRect(x(at / 1000), 0, 7, 7);
    }
  }

  /** @param {View} view */
  #axis({ ctx, from, to, x, left, right, height, color }) {
    const tick =
      TICKS_S.find((s) => (s / (to - from)) * (right - left) >= TICK_PX) ?? TICKS_S[TICKS_S.length - 1];
    ctx.font = "12px Inter, system-ui, sans-serif";
    ctx.textAlign = "center";
    ctx.textBaseline = "alphabetic";
    ctx.fillStyle = color("soft");
    for (let number = Math.ceil(from / tick - 1e-6); number * tick <= to; number++) {
      const at = x(number * tick);
      if (at < left + 8 || at > right - 8) continue;
      ctx.fillText(clockOf(number * tick, tick < 1 ? 1 : 0), at, height - 7);
    }
  }
}
