/* Draws the timeline with uPlot: the nine shares stacked to 1, above them a ribbon with the utterances,
   across them what was lost. Under the pointer it asks for the scores at that time. */

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { EMOTIONS, emotionOf } from "../shared/emotions.js";
import { SHOWN_MS } from "./timeline.js";
import { t } from "../shared/text.js";

const RIBBON = 30; // px above the plot, for the utterances
const CALM_MS = 1_000; // between two drawings for someone who asked for less motion
const SMOOTH_MS = 50;

export class Chart {
  /** `onPoint(ms | null)`: the time under the pointer. */
  constructor(host, onPoint) {
    this.host = host;
    this.onPoint = onPoint;
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    this.drawn = 0;
    new ResizeObserver(() => this.plot?.setSize(this.size())).observe(host);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.build());
  }

  size() {
    return { width: this.host.clientWidth, height: this.host.clientHeight };
  }

  show(timeline) {
    this.timeline = timeline;
    this.build();
  }

  build() {
    if (!this.timeline) return;
    const css = getComputedStyle(this.host);
    this.colour = (name) => css.getPropertyValue(`--${name}`).trim();
    this.plot?.destroy();
    this.plot = new uPlot(this.options(), this.timeline.stacked(), this.host);
  }

  options() {
    const axis = {
      stroke: this.colour("soft"),
      font: "12px Inter, system-ui, sans-serif",
      ticks: { show: false },
    };
    const grid = { stroke: this.colour("line"), width: 1 };
    return {
      ...this.size(),
      padding: [RIBBON, 12, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
      scales: {
        x: { time: false, range: () => [(this.timeline.now - SHOWN_MS) / 1000, this.timeline.now / 1000] },
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
          stroke: this.colour("card"), // a hairline between the layers
          fill: this.colour(label),
          width: 0.5,
          points: { show: false },
        })),
      ],
      hooks: {
        drawClear: [(plot) => this.drawSpeech(plot)],
        draw: [(plot) => this.drawLost(plot), (plot) => this.drawUtterances(plot)],
        setCursor: [
          (plot) => this.onPoint(plot.cursor.left < 0 ? null : 1000 * plot.posToVal(plot.cursor.left, "x")),
        ],
      },
    };
  }

  /** Called for each frame of the screen while listening. */
  draw(at) {
    if (!this.plot || at - this.drawn < (this.calm.matches ? CALM_MS : SMOOTH_MS)) return;
    this.drawn = at;
    this.plot.setData(this.timeline.stacked());
  }

  /** Pixels of the stretch of [start, end) that is in view: {x, width}, or null. */
  place(plot, { start, end = this.timeline.now }) {
    const { left, width } = plot.bbox;
    const x = Math.max(left, plot.valToPos(start / 1000, "x", true));
    const right = Math.min(left + width, plot.valToPos(end / 1000, "x", true));
    return right >= x ? { x, width: right - x } : null;
  }

  each(plot, spans, paint) {
    const { ctx } = plot;
    ctx.save();
    for (const span of spans) {
      const at = this.place(plot, span);
      if (at) paint(ctx, at, span);
    }
    ctx.restore();
  }

  drawSpeech(plot) {
    this.each(plot, this.timeline.speech, (ctx, at) => {
      ctx.fillStyle = this.colour("speech-band");
      ctx.fillRect(at.x, plot.bbox.top, at.width, plot.bbox.height);
    });
  }

  drawUtterances(plot) {
    const px = devicePixelRatio;
    this.each(plot, this.timeline.utterances, (ctx, at, { emotion }) => {
      const bottom = plot.bbox.top - 4 * px;
      ctx.fillStyle = this.colour(emotion);
      ctx.fillRect(at.x, bottom - 3 * px, at.width, 3 * px);
      if (at.width < 18 * px) return;
      ctx.fillStyle = this.colour("ink");
      ctx.font = `${15 * px}px sans-serif`;
      ctx.textAlign = "center";
      ctx.fillText(emotionOf(emotion).emoji, at.x + at.width / 2, bottom - 8 * px);
    });
  }

  drawLost(plot) {
    const px = devicePixelRatio;
    const { top, height } = plot.bbox;
    this.each(plot, this.timeline.lost, (ctx, at) => {
      const width = Math.max(at.width, 3 * px);
      ctx.fillStyle = this.colour("lost-band");
      ctx.fillRect(at.x, top, width, height);
      ctx.fillStyle = this.colour("bad");
      ctx.fillRect(at.x, top + height - 3 * px, width, 3 * px);
      if (width < 24 * px) return;
      ctx.font = `600 ${11 * px}px Inter, system-ui, sans-serif`;
      ctx.textAlign = "center";
      ctx.fillText(t("chart.lost"), at.x + width / 2, top + height - 9 * px);
    });
  }
}

export function clock(seconds) {
  if (seconds < 0) return "";
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
