/* The nine scores over time as lines, drawn with uPlot. What stretch is shown is the stage's business. */

import { EMOTIONS, LABELS } from "../shared/emotions.js";
import uPlot from "../vendor/uplot/uPlot.esm.js";

/** @import { Frames } from "./frames.js" */

export const LEFT = 46; // px beside the drawing for the figures; the waveform below keeps to the same edges
export const RIGHT = 12;

export class Lines {
  /** The labels whose lines are shown. */
  shown = new Set(LABELS);
  #host;
  /** @type {Frames | null} */
  #frames = null;
  /** @type {uPlot | null} */
  #plot = null;
  /** @type {[number, number]} */
  #range = [0, 1];

  /** @param {HTMLElement} host */
  constructor(host) {
    this.#host = host;
  }

  /** @param {Frames | null} frames */
  show(frames) {
    this.#frames = frames;
    this.#host.hidden = !frames;
    this.build();
  }

  /** @param {string} label */
  toggle(label) {
    if (!this.shown.delete(label)) this.shown.add(label);
    this.#plot?.setSeries(LABELS.indexOf(label) + 1, { show: this.shown.has(label) });
  }

  /** Anew, as after a change of the theme. */
  build() {
    this.#plot?.destroy();
    this.#plot = null;
    if (!this.#frames) return;
    const css = getComputedStyle(this.#host);
    const color = (/** @type {string} */ name) => css.getPropertyValue(`--${name}`).trim();
    this.#plot = new uPlot(
      {
        width: this.#host.clientWidth,
        height: this.#host.clientHeight,
        padding: [10, RIGHT, 8, 0],
        legend: { show: false },
        cursor: { show: false },
        scales: { x: { time: false, range: () => this.#range }, y: { range: [0, 1] } },
        axes: [
          { show: false },
          {
            stroke: color("soft"),
            font: "12px Inter, system-ui, sans-serif",
            ticks: { show: false },
            grid: { stroke: color("line"), width: 1 },
            size: LEFT,
            splits: [0, 0.5, 1],
            values: (_, ticks) => ticks.map((p) => `${p * 100}%`),
          },
        ],
        series: [
          {},
          ...EMOTIONS.map(({ label }) => ({
            stroke: color(label),
            width: 1.75,
            points: { show: false },
            show: this.shown.has(label),
          })),
        ],
      },
      [[], ...LABELS.map(() => [])],
      this.#host,
    );
  }

  /** Draw [from, to] in seconds.
   *  @param {number} from @param {number} to */
  draw(from, to) {
    if (!this.#plot || !this.#frames) return;
    const width = this.#host.clientWidth;
    if (width !== this.#plot.width) this.#plot.setSize({ width, height: this.#host.clientHeight });
    this.#range = [from, to];
    this.#plot.setData(this.#frames.lines(from, to, width - LEFT - RIGHT));
  }

  /** How long the stretch is that one point stands for.
   *  @param {number} from @param {number} to */
  bin(from, to) {
    return this.#frames?.bin(from, to, this.#host.clientWidth - LEFT - RIGHT) ?? 0;
  }
}
