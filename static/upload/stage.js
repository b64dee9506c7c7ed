/* What the chart and the waveform share: the stretch of time in view, the cursor, and the hand on them. Drag to zoom
   in, double click to see all, click to set the cursor; wheel with Ctrl to zoom, sideways to move; keys as told in
   the label. A bar below moves through a recording that is zoomed into. */

import { $ } from "../shared/parts.js";
import { LEFT, RIGHT } from "./lines.js";

const LEAST_S = 0.5; // in view
const DRAG_PX = 5; // less is a click

export class Stage {
  /** `onDraw(from, to)`; `onSeek(seconds)`; `onToggle()`: play or pause; `onHover(seconds | null)`. */
  constructor({ onDraw, onSeek, onToggle, onHover }) {
    Object.assign(this, { onDraw, onSeek, onToggle, onHover });
    this.show(1);
    new ResizeObserver(() => this.draw()).observe($("stage"));
    this.hand();
    this.keys();
    this.bar();
    $("zoom-in").onclick = () => this.zoom(0.5);
    $("zoom-out").onclick = () => this.zoom(2);
    $("zoom-all").onclick = () => this.view(0, this.seconds);
  }

  /** A recording of this length; nothing is zoomed. */
  show(seconds) {
    this.seconds = Math.max(seconds, 0.1);
    this.at = 0;
    this.view(0, this.seconds);
  }

  /** The length has become known better. */
  lengthen(seconds) {
    const all = this.from === 0 && this.to === this.seconds;
    this.seconds = Math.max(seconds, 0.1);
    if (all) this.view(0, this.seconds);
  }

  view(from, to) {
    const long = Math.min(this.seconds, Math.max(to - from, Math.min(LEAST_S, this.seconds)));
    this.from = Math.min(Math.max(0, from), this.seconds - long);
    this.to = this.from + long;
    this.draw();
  }

  /** By `factor`, around the cursor if it is in view, or around `middle`. */
  zoom(factor, middle = this.at >= this.from && this.at <= this.to ? this.at : (this.from + this.to) / 2) {
    this.view(middle - (middle - this.from) * factor, middle + (this.to - middle) * factor);
  }

  move(by) {
    this.view(this.from + by, this.from + by + this.to - this.from);
  }

  /** The cursor; while it plays the view follows it. */
  setCursor(seconds, follow) {
    this.at = seconds;
    if (follow && (seconds < this.from || seconds > this.to))
      this.view(seconds, seconds + this.to - this.from);
    this.place($("cursor"), seconds);
    $("stage").setAttribute("aria-valuenow", seconds.toFixed(1));
  }

  draw() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = 0;
      // Hidden, as after a deletion, or too narrow for any column: the observer asks again when there is room.
      if ($("stage").clientWidth <= LEFT + RIGHT) return;
      this.onDraw(this.from, this.to);
      this.place($("cursor"), this.at);
      const zoomed = this.to - this.from < this.seconds - 1e-9;
      $("stage").setAttribute("aria-valuemax", this.seconds.toFixed(1));
      $("scroll").hidden = !zoomed;
      $("zoom-all").disabled = $("zoom-out").disabled = !zoomed;
      $("scroll").firstElementChild.style.left = `${(100 * this.from) / this.seconds}%`;
      $("scroll").firstElementChild.style.width = `${(100 * (this.to - this.from)) / this.seconds}%`;
    });
  }

  place(line, seconds) {
    const part = (seconds - this.from) / (this.to - this.from);
    line.style.left = `${100 * part}%`;
    line.hidden = part < 0 || part > 1;
  }

  /** The time under a pointer. */
  time(event) {
    const { left, width } = $("over").getBoundingClientRect();
    return this.from + Math.min(1, Math.max(0, (event.clientX - left) / width)) * (this.to - this.from);
  }

  hand() {
    const over = $("over");
    over.style.left = `${LEFT}px`;
    over.style.right = `${RIGHT}px`;
    let start = null;
    const select = (event) => {
      const [a, b] = [start.time, this.time(event)].sort((x, y) => x - y);
      this.place($("select"), a);
      $("select").style.width = `${(100 * (b - a)) / (this.to - this.from)}%`;
      return [a, b];
    };
    const end = () => {
      start = null;
      $("select").hidden = true;
    };
    end();
    over.onpointerdown = (event) => {
      if (event.button !== 0) return;
      start = { x: event.clientX, time: this.time(event), drag: false };
      over.setPointerCapture(event.pointerId);
    };
    over.onpointermove = (event) => {
      this.place($("hover"), this.time(event));
      this.onHover(this.time(event));
      if (!start) return;
      start.drag ||= Math.abs(event.clientX - start.x) > DRAG_PX;
      if (start.drag) select(event);
    };
    over.onpointerup = (event) => {
      if (!start) return;
      if (start.drag) this.view(...select(event));
      else this.onSeek(start.time);
      end();
    };
    over.onpointercancel = end;
    over.onpointerleave = () => {
      $("hover").hidden = true;
      this.onHover(null);
    };
    over.ondblclick = () => this.view(0, this.seconds);
    over.addEventListener(
      "wheel",
      (event) => {
        const sideways = event.shiftKey && !event.deltaX ? event.deltaY : event.deltaX;
        if (event.ctrlKey) this.zoom(1.0015 ** event.deltaY, this.time(event));
        else if (Math.abs(sideways) > Math.abs(event.shiftKey ? 0 : event.deltaY))
          this.move((sideways / over.clientWidth) * (this.to - this.from));
        else return; // the page scrolls
        event.preventDefault();
      },
      { passive: false },
    );
  }

  keys() {
    const long = () => this.to - this.from;
    const acts = {
      " ": () => this.onToggle(),
      ArrowLeft: () => this.onSeek(Math.max(0, this.at - long() / 50)),
      ArrowRight: () => this.onSeek(Math.min(this.seconds, this.at + long() / 50)),
      PageUp: () => this.move(-long()),
      PageDown: () => this.move(long()),
      Home: () => this.onSeek(0),
      End: () => this.onSeek(this.seconds),
      "+": () => this.zoom(0.5),
      "=": () => this.zoom(0.5),
      "-": () => this.zoom(2),
      0: () => this.view(0, this.seconds),
    };
    $("stage").onkeydown = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !acts[event.key]) return;
      event.preventDefault();
      acts[event.key]();
    };
  }

  bar() {
    const bar = $("scroll");
    let grip; // where in the stretch in view it was taken hold of, in seconds
    const time = ({ clientX }) => {
      const { left, width } = bar.getBoundingClientRect();
      return ((clientX - left) / width) * this.seconds;
    };
    bar.onpointerdown = (event) => {
      bar.setPointerCapture(event.pointerId);
      const at = time(event);
      if (at < this.from || at > this.to) this.move(at - (this.from + this.to) / 2);
      grip = at - this.from;
    };
    bar.onpointermove = (event) => event.buttons && this.move(time(event) - grip - this.from);
  }
}
