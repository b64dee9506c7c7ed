/* Draws one channel of an opened session with uPlot: nine shares stacked to 1, above them its utterances, across
   them what was lost and where alerts fired. The channels of a session share the view and the pointer. */

import { EMOTIONS, emotionOf } from "../shared/emotions.js";
import uPlot from "../vendor/uplot/uPlot.esm.js";
import { clock } from "./cards.js";

/** @import { History } from "./history.js" */
/** @typedef {{mode: "whole" | "recent", range: [number, number] | null}} View `range` in s, when zoomed into */
/** @typedef {{view: () => View, onRange: (range: [number, number] | null) => void,
 *             onPoint: (ms: number | null) => void}} Hooks */
/** @typedef {{channel?: string, start_ms?: number, end_ms?: number, at_ms?: number}} Mark */

const RIBBON = 30; // px above the plot, for utterances and alerts
const RECENT_S = 300;
const LEAST_S = 10; // what is shown of a session that has just begun
const FONT = "12px Inter, system-ui, sans-serif";

export class Plot {
  #host;
  #name;
  #history;
  #hooks;
  #resized = new ResizeObserver(() => this.#plot.setSize(this.#size()));
  #dark = matchMedia("(prefers-color-scheme: dark)");
  #rebuild = () => {
    this.#plot.destroy();
    this.#plot = this.#build();
  };
  #plot;

  /** `view()`: what stretch is in view; `onRange(range)`: another was chosen here, null: all; `onPoint(ms)`: the
   *  time under the pointer.
   *  @param {HTMLElement} host
   *  @param {string} name of the channel
   *  @param {History} history @param {Hooks} hooks */
  constructor(host, name, history, hooks) {
    this.#host = host;
    this.#name = name;
    this.#history = history;
    this.#hooks = hooks;
    this.#plot = this.#build();
    this.#resized.observe(host);
    this.#dark.addEventListener("change", this.#rebuild);
  }

  destroy() {
    this.#resized.disconnect();
    this.#dark.removeEventListener("change", this.#rebuild);
    this.#plot.destroy();
  }

  draw() {
    this.#plot.setData(this.#history.stacked(this.#name));
  }

  #size() {
    return { width: this.#host.clientWidth, height: this.#host.clientHeight };
  }

  /** Seconds that are in view.
   *  @returns {[number, number]} */
  #range() {
    const { mode, range } = this.#hooks.view();
    const end = Math.max(LEAST_S, this.#history.end / 1000);
    return range ?? [mode === "recent" ? Math.max(0, end - RECENT_S) : 0, end];
  }

  #build() {
    const plot = new uPlot(this.#options(), this.#history.stacked(this.#name), this.#host);
    plot.over.addEventListener("dblclick", () => this.#hooks.onRange(null));
    return plot;
  }

  /** @param {string} name of a color of the theme */
  #color(name) {
    return getComputedStyle(this.#host).getPropertyValue(`--${name}`).trim();
  }

  /** @returns {uPlot.Options} */
  #options() {
    const axis = { stroke: this.#color("soft"), font: FONT, ticks: { show: false } };
    return {
      ...this.#size(),
      padding: [RIBBON, 14, 0, 0],
      legend: { show: false },
      cursor: {
        y: false,
        drag: { x: true, y: false, setScale: false },
        points: { show: false },
        sync: { key: "session" },
      },
      scales: { x: { time: false, range: () => this.#range() }, y: { range: [0, 1] } },
      axes: [
        {
          ...axis,
          grid: { show: false },
          size: 28,
          space: 64,
          values: (_, ticks) => ticks.map((s) => clock(1000 * s)),
        },
        {
          ...axis,
          grid: { stroke: this.#color("line"), width: 1 },
          size: 46,
          splits: [0, 0.5, 1],
          values: (_, ticks) => ticks.map((p) => `${p * 100}%`),
        },
      ],
      series: [
        {},
        ...EMOTIONS.map(({ label }) => ({
          stroke: this.#color("card"),
          fill: this.#color(label),
          width: 0.5,
          points: { show: false },
        })),
      ],
      hooks: {
        draw: [(plot) => this.#drawMarks(plot)],
        setCursor: [
          (plot) => {
            const { left = -1 } = plot.cursor;
            this.#hooks.onPoint(left < 0 ? null : 1000 * plot.posToVal(left, "x"));
          },
        ],
        setSelect: [(plot) => this.#select(plot)],
      },
    };
  }

  /** @param {uPlot} plot */
  #select(plot) {
    const { left, width } = plot.select;
    if (width < 4) return;
    /** @type {[number, number]} */
    const range = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.#hooks.onRange(range);
  }

  /** Utterances above, losses and alerts across.
   *  @param {uPlot} plot */
  #drawMarks(plot) {
    const { ctx, bbox } = plot;
    const px = devicePixelRatio;
    const right = bbox.left + bbox.width;
    const x = (/** @type {number} */ ms) => plot.valToPos(ms / 1000, "x", true);
    const known = new Map(); // each is asked for again and again
    const color = (/** @type {string} */ name) =>
      known.get(name) ?? known.set(name, this.#color(name)).get(name);
    ctx.save();
    ctx.textAlign = "center";
    /** @template {Mark} M
     *  @param {M[]} marks @param {(mark: M, from: number, width: number) => void} paint */
    const each = (marks, paint) => {
      for (const mark of marks) {
        if (this.#name !== "mono" && mark.channel && mark.channel !== this.#name) continue;
        const from = Math.max(bbox.left, x(mark.start_ms ?? mark.at_ms ?? 0));
        const to = Math.min(right, x(mark.end_ms ?? mark.at_ms ?? 0));
        if (to >= from) paint(mark, from, to - from);
      }
    };
    const top = bbox.top - 4 * px;
    each(this.#history.utterances, ({ emotion }, from, width) => {
      ctx.fillStyle = color(emotion);
      ctx.fillRect(from, top - 3 * px, Math.max(px, width - px), 3 * px);
      if (width < 18 * px) return;
      ctx.fillStyle = color("ink");
      ctx.font = `${15 * px}px sans-serif`;
      ctx.fillText(emotionOf(emotion).emoji, from + width / 2, top - 8 * px);
    });
    each(this.#history.lost, (_, from, width) => {
      ctx.fillStyle = color("lost-band");
      ctx.fillRect(from, bbox.top, Math.max(width, 3 * px), bbox.height);
    });
    const fired = this.#history.alerts.filter(({ state }) => state !== "cleared");
    each(fired, ({ level }, from) => {
      ctx.fillStyle = color("card");
      ctx.fillRect(from - 2 * px, bbox.top, 4 * px, bbox.height);
      ctx.fillStyle = color(level === "critical" ? "bad" : level === "warning" ? "warn" : "accent");
      ctx.fillRect(from - px, bbox.top, 2 * px, bbox.height);
      ctx.beginPath();
      ctx.moveTo(from - 6 * px, bbox.top - px);
      ctx.lineTo(from + 6 * px, bbox.top - px);
      ctx.lineTo(from, bbox.top + 9 * px);
      ctx.fill();
    });
    ctx.restore();
  }
}
