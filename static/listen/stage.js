/* What the chart and the waveform share: the stretch of time in view, the cursor, and the hand on them. Drag to
   zoom in, double click to see all, click to set the cursor; wheel with Ctrl to zoom, sideways to move; keys as
   told in the label. A bar below moves through a recording that is zoomed into. */

import { $ } from "../shared/parts.js";
import { LEFT, RIGHT } from "./lines.js";

const LEAST_S = 0.5; // in view
const DRAG_PX = 5; // less is a click

/** @typedef {{onDraw: (from: number, to: number) => void, onSeek: (seconds: number) => void,
 *             onToggle: () => void, onHover: (seconds: number | null) => void}} Hooks */

export class Stage {
  seconds = 1; // the length of the recording
  at = 0; // the cursor
  from = 0; // the stretch in view
  to = 1;
  #hooks;
  #frame = 0; // that has been asked for, to draw
  #grip = document.createElement("i"); // of the bar below

  /** `onToggle()`: play or pause.
   *  @param {Hooks} hooks */
  constructor(hooks) {
    this.#hooks = hooks;
    $("scroll").replaceChildren(this.#grip);
    this.show(1);
    new ResizeObserver(() => this.draw()).observe($("stage"));
    this.#listenToHand();
    this.#listenToKeys();
    this.#listenToBar();
    $("zoom-in").onclick = () => this.#zoom(0.5);
    $("zoom-out").onclick = () => this.#zoom(2);
    $("zoom-all").onclick = () => this.#view(0, this.seconds);
  }

  /** A recording of this length; nothing is zoomed.
   *  @param {number} seconds */
  show(seconds) {
    this.seconds = Math.max(seconds, 0.1);
    this.at = 0;
    this.#view(0, this.seconds);
  }

  /** The length has become known better.
   *  @param {number} seconds */
  lengthen(seconds) {
    const all = this.from === 0 && this.to === this.seconds;
    this.seconds = Math.max(seconds, 0.1);
    if (all) this.#view(0, this.seconds);
  }

  /** @param {number} from @param {number} to */
  #view(from, to) {
    const long = Math.min(this.seconds, Math.max(to - from, Math.min(LEAST_S, this.seconds)));
    this.from = Math.min(Math.max(0, from), this.seconds - long);
    this.to = this.from + long;
    this.draw();
  }

  /** By `factor`, around the cursor if it is in view, or around `middle`.
   *  @param {number} factor */
  #zoom(factor, middle = this.at >= this.from && this.at <= this.to ? this.at : (this.from + this.to) / 2) {
    this.#view(middle - (middle - this.from) * factor, middle + (this.to - middle) * factor);
  }

  /** @param {number} by seconds */
  move(by) {
    this.#view(this.from + by, this.from + by + this.to - this.from);
  }

  /** The cursor; while it plays the view follows it.
   *  @param {number} seconds @param {boolean} follow */
  setCursor(seconds, follow) {
    this.at = seconds;
    if (follow && (seconds < this.from || seconds > this.to))
      this.#view(seconds, seconds + this.to - this.from);
    this.#place($("cursor"), seconds);
    $("stage").setAttribute("aria-valuenow", seconds.toFixed(1));
  }

  draw() {
    if (this.#frame) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      // Hidden, as after a deletion, or too narrow for any column: the observer asks again when there is room.
      if ($("stage").clientWidth <= LEFT + RIGHT) return;
      this.#hooks.onDraw(this.from, this.to);
      this.#place($("cursor"), this.at);
      const zoomed = this.to - this.from < this.seconds - 1e-9;
      $("stage").setAttribute("aria-valuemax", this.seconds.toFixed(1));
      $("scroll").hidden = !zoomed;
      for (const id of ["zoom-all", "zoom-out"]) $(id, HTMLButtonElement).disabled = !zoomed;
      this.#grip.style.left = `${(100 * this.from) / this.seconds}%`;
      this.#grip.style.width = `${(100 * (this.to - this.from)) / this.seconds}%`;
    });
  }

  /** @param {HTMLElement} line @param {number} seconds */
  #place(line, seconds) {
    const part = (seconds - this.from) / (this.to - this.from);
    line.style.left = `${100 * part}%`;
    line.hidden = part < 0 || part > 1;
  }

  /** The time under a pointer.
   *  @param {MouseEvent} event */
  #timeAt(event) {
    const { left, width } = $("over").getBoundingClientRect();
    return this.from + Math.min(1, Math.max(0, (event.clientX - left) / width)) * (this.to - this.from);
  }

  #listenToHand() {
    const over = $("over");
    over.style.left = `${LEFT}px`;
    over.style.right = `${RIGHT}px`;
    /** @type {{x: number, time: number, drag: boolean} | null} */
    let start = null;
    /** @param {number} begin @param {PointerEvent} event @returns {[number, number]} */
    const select = (begin, event) => {
      const now = this.#timeAt(event);
      const [a, b] = [Math.min(begin, now), Math.max(begin, now)];
      this.#place($("select"), a);
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
      start = { x: event.clientX, time: this.#timeAt(event), drag: false };
      over.setPointerCapture(event.pointerId);
    };
    over.onpointermove = (event) => {
      this.#place($("hover"), this.#timeAt(event));
      this.#hooks.onHover(this.#timeAt(event));
      if (!start) return;
      start.drag ||= Math.abs(event.clientX - start.x) > DRAG_PX;
      if (start.drag) select(start.time, event);
    };
    over.onpointerup = (event) => {
      if (!start) return;
      if (start.drag) this.#view(...select(start.time, event));
      else this.#hooks.onSeek(start.time);
      end();
    };
    over.onpointercancel = end;
    over.onpointerleave = () => {
      $("hover").hidden = true;
      this.#hooks.onHover(null);
    };
    over.ondblclick = () => this.#view(0, this.seconds);
    over.addEventListener(
      "wheel",
      (event) => {
        const sideways = event.shiftKey && !event.deltaX ? event.deltaY : event.deltaX;
        if (event.ctrlKey) this.#zoom(1.0015 ** event.deltaY, this.#timeAt(event));
        else if (Math.abs(sideways) > Math.abs(event.shiftKey ? 0 : event.deltaY))
          this.move((sideways / over.clientWidth) * (this.to - this.from));
        else return; // the page scrolls
        event.preventDefault();
      },
      { passive: false },
    );
  }

  #listenToKeys() {
    const long = () => this.to - this.from;
    /** @type {Record<string, () => void>} */
    const acts = {
      " ": () => this.#hooks.onToggle(),
      ArrowLeft: () => this.#hooks.onSeek(Math.max(0, this.at - long() / 50)),
      ArrowRight: () => this.#hooks.onSeek(Math.min(this.seconds, this.at + long() / 50)),
      PageUp: () => this.move(-long()),
      PageDown: () => this.move(long()),
      Home: () => this.#hooks.onSeek(0),
      End: () => this.#hooks.onSeek(this.seconds),
      "+": () => this.#zoom(0.5),
      "=": () => this.#zoom(0.5),
      "-": () => this.#zoom(2),
      0: () => this.#view(0, this.seconds),
    };
    $("stage").onkeydown = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !acts[event.key]) return;
      event.preventDefault();
      acts[event.key]();
    };
  }

  #listenToBar() {
    const bar = $("scroll");
    let grip = 0; // where in the stretch in view it was taken hold of, in seconds
    const time = (/** @type {PointerEvent} */ { clientX }) => {
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
