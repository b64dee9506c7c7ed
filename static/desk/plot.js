/* Draws one voice of an opened session with uPlot: nine shares stacked to 1, above them its utterances, across
   them what was lost and where alerts fired. The voices of a session share the view and the pointer. */

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { EMOTIONS, emotionOf } from "../shared/emotions.js";
import { clock } from "./cards.js";

const RIBBON = 30; // px above the plot, for utterances and alerts
const RECENT_S = 300;
const LEAST_S = 10; // what is shown of a session that has just begun

export class Plot {
  /** `view`: {mode: "whole" | "recent", range: [s, s] | null}, shared; `onView()` when it is changed here. */
  constructor(host, name, history, view, { onView, onPoint }) {
    Object.assign(this, { host, name, history, view, onView, onPoint });
    this.resized = new ResizeObserver(() => this.plot?.setSize(this.size()));
    this.resized.observe(host);
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.rebuild = () => this.build();
    this.dark.addEventListener("change", this.rebuild);
    this.build();
  }

  destroy() {
    this.resized.disconnect();
    this.dark.removeEventListener("change", this.rebuild);
    this.plot.destroy();
  }

  size() {
    return { width: this.host.clientWidth, height: this.host.clientHeight };
  }

  draw() {
    this.plot.setData(this.history.stacked(this.name));
  }

  /** Seconds that are in view. */
  range() {
    const end = Math.max(LEAST_S, this.history.end / 1000);
    return this.view.range ?? [this.view.mode === "recent" ? Math.max(0, end - RECENT_S) : 0, end];
  }

  build() {
    const css = getComputedStyle(this.host);
    this.colour = (name) => css.getPropertyValue(`--${name}`).trim();
    this.plot?.destroy();
    this.plot = new uPlot(this.options(), this.history.stacked(this.name), this.host);
    this.plot.over.addEventListener("dblclick", () => this.show(null));
  }

  show(range) {
    this.view.range = range;
    this.onView();
  }

  options() {
    const axis = {
      stroke: this.colour("soft"),
      font: "12px Inter, system-ui, sans-serif",
      ticks: { show: false },
    };
    return {
      ...this.size(),
      padding: [RIBBON, 14, 0, 0],
      legend: { show: false },
      cursor: {
        y: false,
        drag: { x: true, y: false, setScale: false },
        points: { show: false },
        sync: { key: "session" },
      },
      scales: { x: { time: false, range: () => this.range() }, y: { range: [0, 1] } },
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
          grid: { stroke: this.colour("line"), width: 1 },
          size: 46,
          splits: [0, 0.5, 1],
          values: (_, ticks) => ticks.map((p) => `${p * 100}%`),
        },
      ],
      series: [
        {},
        ...EMOTIONS.map(({ label }) => ({
          stroke: this.colour("card"),
          fill: this.colour(label),
          width: 0.5,
          points: { show: false },
        })),
      ],
      hooks: {
        draw: [(plot) => this.marks(plot)],
        setCursor: [
          ({ cursor, posToVal }) => this.onPoint(cursor.left < 0 ? null : 1000 * posToVal(cursor.left, "x")),
        ],
        setSelect: [(plot) => this.select(plot)],
      },
    };
  }

  select(plot) {
    const { left, width } = plot.select;
    if (width < 4) return;
    const range = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.show(range);
  }

  /** Utterances above, losses and alerts across. */
  marks(plot) {
    const { ctx, bbox } = plot;
    const px = devicePixelRatio;
    const mine = ({ channel }) => this.name === "mono" || !channel || channel === this.name;
    const x = (ms) => plot.valToPos(ms / 1000, "x", true);
    const right = bbox.left + bbox.width;
    ctx.save();
    ctx.textAlign = "center";
    const each = (list, paint) => {
      for (const item of list.filter(mine)) {
        const from = Math.max(bbox.left, x(item.start_ms ?? item.at_ms));
        const to = Math.min(right, x(item.end_ms ?? item.at_ms));
        if (to >= from) paint(item, from, to - from);
      }
    };
    const top = bbox.top - 4 * px;
    each(this.history.utterances, ({ emotion }, from, width) => {
      ctx.fillStyle = this.colour(emotion);
      ctx.fillRect(from, top - 3 * px, Math.max(px, width - px), 3 * px);
      if (width < 18 * px) return;
      ctx.fillStyle = this.colour("ink");
      ctx.font = `${15 * px}px sans-serif`;
      ctx.fillText(emotionOf(emotion).emoji, from + width / 2, top - 8 * px);
    });
    each(this.history.lost, (_, from, width) => {
      ctx.fillStyle = this.colour("lost-band");
      ctx.fillRect(from, bbox.top, Math.max(width, 3 * px), bbox.height);
    });
    const fired = this.history.alerts.filter(({ state }) => state !== "cleared");
    each(fired, ({ level }, from) => {
      ctx.fillStyle = this.colour("card");
      ctx.fillRect(from - 2 * px, bbox.top, 4 * px, bbox.height);
      ctx.fillStyle = this.colour(level === "critical" ? "bad" : level === "warning" ? "warn" : "accent");
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
