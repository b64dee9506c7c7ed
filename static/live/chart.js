/* Draws the timeline with uPlot: the nine shares stacked to 1, above them a ribbon with the utterances,
   across them what was lost. Under the pointer it asks for the scores at that time. */

import { EMOTIONS, emotionOf } from "../shared/emotions.js";
import { t } from "../shared/text.js";
import uPlot from "../vendor/uplot/uPlot.esm.js";
import { SHOWN_MS } from "./timeline.js";

/** @import { Timeline } from "./timeline.js" */
/** @typedef {{start: number, end?: number}} Span */
/** @typedef {{x: number, width: number}} Place in pixels */

const RIBBON = 30; // px above the plot, for the utterances
const CALM_MS = 1_000; // between two drawings for someone who asked for less motion
const SMOOTH_MS = 50;

export class Chart {
  #host;
  #onPoint;
  #calm = matchMedia("(prefers-reduced-motion: reduce)");
  #drawnAt = 0;
  /** @type {Timeline | undefined} */
  #timeline;
  /** @type {uPlot | undefined} */
  #plot;

  /** `onPoint(ms | null)`: the time under the pointer.
   *  @param {HTMLElement} host @param {(ms: number | null) => void} onPoint */
  constructor(host, onPoint) {
    this.#host = host;
    this.#onPoint = onPoint;
    new ResizeObserver(() => this.#plot?.setSize(this.#size())).observe(host);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      if (this.#timeline) this.show(this.#timeline);
    });
  }

  /** @param {Timeline} timeline */
  show(timeline) {
    this.#timeline = timeline;
    this.#plot?.destroy();
    this.#plot = new uPlot(this.#options(timeline), timeline.stacked(), this.#host);
  }

  /** Called for each frame of the screen while listening.
   *  @param {number} at */
  draw(at) {
    if (!this.#plot || !this.#timeline) return;
    if (at - this.#drawnAt < (this.#calm.matches ? CALM_MS : SMOOTH_MS)) return;
    this.#drawnAt = at;
    this.#plot.setData(this.#timeline.stacked());
  }

  #size() {
    return { width: this.#host.clientWidth, height: this.#host.clientHeight };
  }

  /** @param {Timeline} timeline @returns {uPlot.Options} */
  #options(timeline) {
    const css = getComputedStyle(this.#host);
    const color = (/** @type {string} */ name) => css.getPropertyValue(`--${name}`).trim();
    const axis = {
      stroke: color("soft"),
      font: "12px Inter, system-ui, sans-serif",
      ticks: { show: false },
    };
    const grid = { stroke: color("line"), width: 1 };
    return {
      ...this.#size(),
      padding: [RIBBON, 12, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
      scales: {
        x: { time: false, range: () => rangeOf(timeline) },
        y: { range: [0, 1] },
      },
      axes: [
        {
          ...axis,
          grid: { show: false },
          size: 30,
          space: 70,
          incrs: [10, 20],
          values: (_, ticks) => ticks.map(clock),
        },
        {
          ...axis,
          grid,
          size: 46,
          splits: [0, 0.5, 1],
          values: (_, ticks) => ticks.map((p) => `${p * 100}%`),
        },
      ],
      series: [
        {},
        ...EMOTIONS.map(({ label }) => ({
          stroke: color("card"), // a hairline between the layers
          fill: color(label),
          width: 0.5,
          points: { show: false },
        })),
      ],
      hooks: {
        drawClear: [(plot) => drawSpeech(plot, timeline, color)],
        draw: [(plot) => drawLost(plot, timeline, color), (plot) => drawUtterances(plot, timeline, color)],
        setCursor: [
          (plot) => {
            const { left = -1 } = plot.cursor;
            this.#onPoint(left < 0 ? null : 1000 * plot.posToVal(left, "x"));
          },
        ],
      },
    };
  }
}

/** In s: it grows from the left until a minute is full, then moves.
 *  @param {Timeline} timeline @returns {[number, number]} */
function rangeOf({ now }) {
  const end = Math.max(now, SHOWN_MS);
  return [(end - SHOWN_MS) / 1000, end / 1000];
}

/** Where the stretch of [start, end) is that is in view, or null.
 *  @param {uPlot} plot @param {Span} span @param {number} now @returns {Place | null} */
function placeOf(plot, { start, end }, now) {
  const { left, width } = plot.bbox;
  const x = Math.max(left, plot.valToPos(start / 1000, "x", true));
  const right = Math.min(left + width, plot.valToPos((end ?? now) / 1000, "x", true));
  return right >= x ? { x, width: right - x } : null;
}

/** @template {Span} S
 *  @param {uPlot} plot @param {S[]} spans @param {number} now @param {(at: Place, span: S) => void} paint */
function each(plot, spans, now, paint) {
  plot.ctx.save();
  for (const span of spans) {
    const at = placeOf(plot, span, now);
    if (at) paint(at, span);
  }
  plot.ctx.restore();
}

/** @param {uPlot} plot @param {Timeline} timeline @param {(name: string) => string} color */
function drawSpeech(plot, { speech, now }, color) {
  const { ctx, bbox } = plot;
  each(plot, speech, now, ({ x, width }) => {
    ctx.fillStyle = color("speech-band");
    ctx.fillRect(x, bbox.top, width, bbox.height);
  });
}

/** @param {uPlot} plot @param {Timeline} timeline @param {(name: string) => string} color */
function drawUtterances(plot, { utterances, now }, color) {
  const { ctx, bbox } = plot;
  const px = devicePixelRatio;
  const bottom = bbox.top - 4 * px;
  each(plot, utterances, now, ({ x, width }, { emotion, sure }) => {
    ctx.fillStyle = ctx.strokeStyle = color(sure === "mixed" ? "soft" : emotion);
    ctx.lineWidth = px;
    if (sure === "sure") ctx.fillRect(x, bottom - 3 * px, width, 3 * px);
    else ctx.strokeRect(x + px / 2, bottom - 3 * px, Math.max(0, width - px), 3 * px); // hollow
    if (width < 18 * px || sure !== "sure") return;
    ctx.fillStyle = color("ink");
    ctx.font = `${15 * px}px sans-serif`;
    ctx.textAlign = "center";
    ctx.fillText(emotionOf(emotion).emoji, x + width / 2, bottom - 8 * px);
  });
}

/** @param {uPlot} plot @param {Timeline} timeline @param {(name: string) => string} color */
function drawLost(plot, { lost, now }, color) {
  const { ctx } = plot;
  const { top, height } = plot.bbox;
  const px = devicePixelRatio;
  each(plot, lost, now, (at) => {
    const width = Math.max(at.width, 3 * px);
    ctx.fillStyle = color("lost-band");
    ctx.fillRect(at.x, top, width, height);
    ctx.fillStyle = color("bad");
    ctx.fillRect(at.x, top + height - 3 * px, width, 3 * px);
    if (width < 24 * px) return;
    ctx.font = `600 ${11 * px}px Inter, system-ui, sans-serif`;
    ctx.textAlign = "center";
    ctx.fillText(t("minute.lost"), at.x + width / 2, top + height - 9 * px);
  });
}

/** @param {number} seconds */
export function clock(seconds) {
  if (seconds < 0) return "";
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
