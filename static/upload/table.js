/* Several files as a table: a row for each, sorted by any column, opened by a click. */

import { length } from "../listen/time.js";
import { emotionOf } from "../shared/emotions.js";
import { $, bothNames, make } from "../shared/parts.js";
import { percent, say, t } from "../shared/text.js";
import { isOpen } from "./queue.js";
import { stateText } from "./states.js";

/** @import { Change, Item, State } from "./queue.js" */
/** @typedef {"file" | "emotion" | "confidence" | "duration" | "utterances" | "state"} Column */
/** @typedef {"cancel" | "retry" | "remove"} Act */
/** @typedef {{row: HTMLElement, cells: Record<Column, HTMLElement>, text: HTMLElement, bar: HTMLElement,
 *             acts: HTMLElement}} Row */
/** @typedef {{onOpen: (item: Item) => void, onCancel: (item: Item) => void, onRetry: (item: Item) => void,
 *             onRemove: (item: Item) => void}} Hooks */

const ORDER_MS = 300; // between two sortings while files are being finished
const nothing = -Infinity;
/** @type {State[]} */
const STATES = ["failed", "canceled", "uploading", "working", "held", "waiting", "done"];
const names = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
/** @typedef {(a: Item, b: Item) => number} Compare */
/** @param {(item: Item) => number | undefined} of @returns {Compare} */
const numeric = (of) => (a, b) => (of(a) ?? nothing) - (of(b) ?? nothing);

/** @type {Record<Column, Compare>} */
const COLUMNS = {
  file: (a, b) => names.compare(a.name, b.name),
  emotion: (a, b) => names.compare(a.result?.emotion ?? "~", b.result?.emotion ?? "~"),
  confidence: numeric(({ result }) => result?.confidence),
  duration: numeric(({ result }) => result?.duration_s),
  utterances: numeric(({ result }) => result?.utterances?.length),
  state: (a, b) => STATES.indexOf(a.state) - STATES.indexOf(b.state),
};
const NAMES = /** @type {Column[]} */ (Object.keys(COLUMNS));
/** @type {Set<Column>} */
const FIRST_DOWN = new Set(["confidence", "duration", "utterances"]); // the largest first

const SIGNS = { cancel: "✕", retry: "↻", remove: "✕" };

export class Table {
  #hooks;
  /** @type {Map<Item, Row>} */
  #rows = new Map();
  /** @type {Column | null} */
  #sorted = null;
  #down = false;
  #heads = NAMES.map((name) => ({ name, head: this.#head(name) }));
  /** @type {number | undefined} */
  #ordering;

  /** @param {Hooks} hooks */
  constructor(hooks) {
    this.#hooks = hooks;
    const acts = make("span", { class: "hidden", "data-t": "column.acts" });
    $("columns").append(...this.#heads.map(({ head }) => head), make("th", { class: "acts" }, acts));
  }

  /** @param {Column} name */
  #head(name) {
    const button = make("button", { type: "button", class: "sort", "data-t": `column.${name}` });
    button.onclick = () => this.#sort(name);
    return make("th", { scope: "col", class: name, "aria-sort": "none" }, button);
  }

  /** @param {Column} name */
  #sort(name) {
    this.#down = this.#sorted === name ? !this.#down : FIRST_DOWN.has(name);
    this.#sorted = name;
    const way = this.#down ? "descending" : "ascending";
    for (const { name: other, head } of this.#heads) {
      head.setAttribute("aria-sort", other === name ? way : "none");
    }
    this.#order();
  }

  /** The items in the order in which they stand. */
  ordered() {
    const items = [...this.#rows.keys()];
    if (!this.#sorted) return items;
    const compare = COLUMNS[this.#sorted];
    return items.sort((a, b) => (this.#down ? -1 : 1) * compare(a, b) || a.id - b.id);
  }

  #order() {
    const rows = this.ordered().flatMap((item) => this.#rows.get(item)?.row ?? []);
    const body = $("items");
    if (rows.some((row, i) => body.children[i] !== row)) {
      const focused = document.activeElement;
      body.replaceChildren(...rows);
      if (focused instanceof HTMLElement && body.contains(focused)) focused.focus({ preventScroll: true });
    }
  }

  #orderSoon() {
    if (!this.#sorted || this.#ordering) return;
    this.#ordering = setTimeout(() => {
      this.#ordering = undefined;
      this.#order();
    }, ORDER_MS);
  }

  /** @param {Item[]} items */
  add(items) {
    for (const item of items) {
      const open = make("button", { type: "button", class: "open", title: item.name }, item.name);
      const text = make("span");
      const bar = make("i");
      const cells = {
        file: make("th", { class: "file", scope: "row" }, open),
        emotion: make("td", { class: "emotion" }),
        confidence: make("td", { class: "confidence" }),
        duration: make("td", { class: "duration" }),
        utterances: make("td", { class: "utterances" }),
        state: make("td", { class: "state" }, text, bar),
      };
      const acts = make("td", { class: "acts" });
      const row = make("tr", {}, ...NAMES.map((name) => cells[name]), acts);
      row.onclick = ({ target }) => {
        if (!(target instanceof Element && target.closest(".acts"))) this.#hooks.onOpen(item);
      };
      this.#rows.set(item, { row, cells, text, bar, acts });
      $("items").append(row);
      this.update(item, "state");
    }
  }

  /** @param {Item} item */
  remove(item) {
    this.#rows.get(item)?.row.remove();
    this.#rows.delete(item);
  }

  /** @param {Item | null} item */
  select(item) {
    for (const [other, { row }] of this.#rows) row.toggleAttribute("data-selected", other === item);
  }

  /** @param {Item} item @param {Change} what */
  update(item, what) {
    const found = this.#rows.get(item);
    if (!found) return;
    const { row, cells, acts } = found;
    showState(item, found);
    if (what === "progress") return;
    row.dataset.state = item.state;
    const { result } = item;
    cells.emotion.replaceChildren(...(result ? faceAndNames(result.emotion) : ["–"]));
    cells.confidence.textContent = result ? percent(result.confidence) : "–";
    if (result) say(cells.duration, "{length}", { length: () => length(result.duration_s) });
    else forget(cells.duration);
    cells.utterances.textContent = result?.utterances ? String(result.utterances.length) : "–";
    acts.replaceChildren(...actsOf(item).map((act) => this.#button(item, act)));
    this.#orderSoon();
  }

  /** @param {Item} item @param {Act} act */
  #button(item, act) {
    const button = make("button", { type: "button", class: "quiet", "data-act": act }, SIGNS[act]);
    const { onCancel, onRetry, onRemove } = this.#hooks;
    const run = { cancel: onCancel, retry: onRetry, remove: onRemove }[act];
    button.setAttribute("aria-label", `${t(act)}: ${item.name}`);
    button.title = t(act);
    button.onclick = () => run(item);
    return button;
  }
}

/** What can be done with it.
 *  @param {Item} item @returns {Act[]} */
function actsOf(item) {
  if (isOpen(item)) return ["cancel"];
  return item.state === "done" ? ["remove"] : ["retry", "remove"];
}

/** @param {string} emotion */
function faceAndNames(emotion) {
  const face = make("span", { class: "emoji", "aria-hidden": "true" }, emotionOf(emotion).emoji);
  return [face, bothNames(emotion)];
}

/** @param {Item} item @param {Row} row */
function showState(item, { text, bar }) {
  const [key, values] = stateText(item);
  say(text, key, values);
  const scored = item.state === "working" && item.totalS ? item.doneS / item.totalS : 0;
  const part = item.state === "uploading" ? item.upload : scored;
  bar.style.setProperty("--p", String(Math.min(1, part)));
  bar.hidden = item.state !== "uploading" && item.state !== "working";
}

/** @param {HTMLElement} cell */
function forget(cell) {
  delete cell.dataset.t;
  cell.textContent = "–";
}
