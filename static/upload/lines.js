/* The nine scores over time as lines, drawn with uPlot. What stretch is shown is the stage's business. */

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { EMOTIONS, LABELS } from "../shared/emotions.js";

export const LEFT = 46; // px beside the drawing for the figures; the waveform below keeps to the same edges
export const RIGHT = 12;

export class Lines {
  constructor(host) {
    this.host = host;
    this.shown = new Set(LABELS);
    this.frames = null;
  }

  show(frames) {
    this.frames = frames;
    this.host.hidden = !frames;
    this.build();
  }

  toggle(label) {
    if (!this.shown.delete(label)) this.shown.add(label);
    this.plot?.setSeries(LABELS.indexOf(label) + 1, { show: this.shown.has(label) });
  }

  build() {
    this.plot?.destroy();
    this.plot = null;
    if (!this.frames) return;
    const css = getComputedStyle(this.host);
    const colour = (name) => css.getPropertyValue(`--${name}`).trim();
    this.plot = new uPlot(
      {
        width: this.host.clientWidth,
        height: this.host.clientHeight,
        padding: [10, RIGHT, 8, 0],
        legend: { show: false },
        cursor: { show: false },
        scales: { x: { time: false, range: () => this.range ?? [0, 1] }, y: { range: [0, 1] } },
        axes: [
          { show: false },
          {
            stroke: colour("soft"),
            font: "12px Inter, system-ui, sans-serif",
            ticks: { show: false },
            grid: { stroke: colour("line"), width: 1 },
            size: LEFT,
            splits: [0, 0.5, 1],
            values: (_, ticks) => ticks.map((p) => `${p * 100}%`),
          },
        ],
        series: [
          {},
          ...EMOTIONS.map(({ label }) => ({
            stroke: colour(label),
            width: 1.75,
            points: { show: false },
            show: this.shown.has(label),
          })),
        ],
      },
      [[], ...LABELS.map(() => [])],
      this.host,
    );
  }

  /** Draw [from, to] in seconds. */
  draw(from, to) {
    if (!this.plot) return;
    const width = this.host.clientWidth;
    if (width !== this.plot.width) this.plot.setSize({ width, height: this.host.clientHeight });
    this.range = [from, to];
    this.plot.setData(this.frames.lines(from, to, width - LEFT - RIGHT));
  }

  /** How long the stretch is that one point stands for. */
  bin(from, to) {
    return this.frames?.bin(from, to, this.host.clientWidth - LEFT - RIGHT);
  }
}
