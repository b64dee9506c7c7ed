/* The utterances of a recording: when, what, how sure. Only the rows in view are on the page, so that thousands
   scroll as smoothly as ten. A row plays its stretch. Tab stops at one row; the arrows go to the others. */

import { asRow } from "../shared/emotions.js";
import { feelingOf } from "../shared/feeling.js";
import { facesOf, make, namesOf, stackOf } from "../shared/parts.js";
import { percent, say, t } from "../shared/text.js";
import { clockOf, length } from "./time.js";

const ROW_PX = 42; // as in listen.css
const SPARE = 8; // rows beyond the edges

/** @typedef {{start_ms: number, end_ms: number, emotion: string, confidence: number,
 *             scores: Record<string, number>}} Utterance */

export class Utterances {
  #onPlay;
  #list;
  #holder = make("div");
  /** @type {Utterance[]} */
  #all = [];
  /** @type {Map<number, HTMLElement>} by number */
  #drawn = new Map();
  #current = -1;
  #stop = 0; // the row where Tab stops

  /** @param {HTMLElement} list @param {(utterance: Utterance) => void} onPlay */
  constructor(list, onPlay) {
    this.#list = list;
    this.#onPlay = onPlay;
    this.#list.onscroll = () => this.#draw();
    this.#list.onkeydown = (event) => this.#onKey(event);
    new ResizeObserver(() => this.#draw()).observe(this.#list);
  }

  /** @param {Utterance[]} all */
  show(all) {
    this.#all = all;
    this.#current = -1;
    this.#stop = 0;
    this.#drawn.clear();
    this.#holder = make("div", { class: "holder", role: "presentation" });
    this.#holder.style.height = `${all.length * ROW_PX}px`;
    this.#list.replaceChildren(this.#holder);
    this.#list.scrollTop = 0;
    this.#list.hidden = !all.length;
    this.#draw();
  }

  #draw() {
    const first = Math.max(0, Math.floor(this.#list.scrollTop / ROW_PX) - SPARE);
    const last = Math.min(
      this.#all.length,
      Math.ceil((this.#list.scrollTop + this.#list.clientHeight) / ROW_PX) + SPARE,
    );
    for (const [number, row] of this.#drawn) {
      if ((number >= first && number < last) || number === this.#stop) continue;
      row.remove();
      this.#drawn.delete(number);
    }
    for (let number = first; number < last; number++) {
      if (this.#drawn.has(number)) continue;
      const row = this.#row(number);
      this.#drawn.set(number, row);
      this.#holder.append(row);
    }
  }

  /** @param {number} number */
  #row(number) {
    const utterance = this.#all[number];
    const { start_ms: start, end_ms: end, emotion, confidence, scores } = utterance;
    const long = make("span", { class: "long" });
    say(long, "{length}", { length: () => length((end - start) / 1000) });
    const feeling = feelingOf(asRow(scores));
    const button = make(
      "button",
      { type: "button", tabindex: number === this.#stop ? 0 : -1 },
      make("span", { class: "when" }, clockOf(start / 1000)),
      make("span", { class: "emoji", "aria-hidden": "true" }, facesOf(feeling)),
      namesOf(feeling),
      stackOf(asRow(scores), "span"),
      long,
      make("span", { class: "value" }, percent(confidence)),
    );
    button.title = t("utterance.span", { from: clockOf(start / 1000, 2), to: clockOf(end / 1000, 2) });
    button.onclick = () => {
      this.#stopAt(number);
      this.#onPlay(utterance);
    };
    const attributes = {
      role: "listitem",
      "aria-posinset": number + 1,
      "aria-setsize": this.#all.length,
      "data-number": number,
      "data-emotion": emotion,
      "data-sure": feeling.sure,
    };
    const row = make("div", { class: "utterance", ...attributes }, button);
    row.style.top = `${number * ROW_PX}px`;
    row.dataset.current = String(number === this.#current);
    return row;
  }

  /** Mark the one that is heard at `seconds`; while it plays, keep it in view.
   *  @param {number} seconds @param {boolean} follow */
  mark(seconds, follow) {
    const number = this.#all.findIndex(
      ({ start_ms: start, end_ms: end }) => 1000 * seconds >= start - 1 && 1000 * seconds < end,
    );
    if (number === this.#current) return;
    this.#drawn.get(this.#current)?.setAttribute("data-current", "false");
    this.#current = number;
    this.#drawn.get(number)?.setAttribute("data-current", "true");
    if (follow && number >= 0) this.#reveal(number);
  }

  /** @param {number} number */
  #stopAt(number) {
    this.#drawn.get(this.#stop)?.querySelector("button")?.setAttribute("tabindex", "-1");
    this.#stop = number;
    this.#drawn.get(number)?.querySelector("button")?.setAttribute("tabindex", "0");
  }

  /** @param {number} number */
  #reveal(number) {
    const top = number * ROW_PX;
    if (top < this.#list.scrollTop) this.#list.scrollTop = top;
    else if (top + ROW_PX > this.#list.scrollTop + this.#list.clientHeight)
      this.#list.scrollTop = top + ROW_PX - this.#list.clientHeight;
    this.#draw();
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    const target = /** @type {HTMLElement} */ (event.target);
    /** @type {HTMLElement | null} */
    const here = target.closest("[data-number]");
    if (!step || !here) return;
    event.preventDefault();
    const number = Math.min(this.#all.length - 1, Math.max(0, Number(here.dataset.number) + step));
    this.#reveal(number);
    this.#stopAt(number);
    this.#drawn.get(number)?.querySelector("button")?.focus({ preventScroll: true });
  }
}
