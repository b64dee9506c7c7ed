/* Several files as a table: a row for each, sorted by any column, opened by a click. */

import { emotionOf } from "../shared/emotions.js";
import { $, bothNames, make } from "../shared/parts.js";
import { percent, say, t } from "../shared/text.js";
import { isOpen } from "./queue.js";
import { stateText } from "./states.js";
import { length } from "./time.js";

const ORDER_MS = 300; // between two sortings while files are being finished
const nothing = -Infinity;
const STATES = ["failed", "cancelled", "uploading", "working", "held", "waiting", "done"];
const names = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
const numeric = (of) => (a, b) => (of(a) ?? nothing) - (of(b) ?? nothing);

const COLUMNS = {
  file: (a, b) => names.compare(a.name, b.name),
  emotion: (a, b) => names.compare(a.result?.emotion ?? "~", b.result?.emotion ?? "~"),
  confidence: numeric(({ result }) => result?.confidence),
  duration: numeric(({ result }) => result?.duration_s),
  utterances: numeric(({ result }) => result?.utterances?.length),
  state: (a, b) => STATES.indexOf(a.state) - STATES.indexOf(b.state),
};
const FIRST_DOWN = new Set(["confidence", "duration", "utterances"]); // the largest first

export class Table {
  /** `onOpen(item)`, `onCancel(item)`, `onRetry(item)`, `onRemove(item)`. */
  constructor(acts) {
    this.acts = acts;
    this.rows = new Map();
    this.sorted = null;
    this.down = false;
    this.heads = Object.keys(COLUMNS).map((name) => {
      const button = make("button", { type: "button", class: "sort", "data-t": `column.${name}` });
      button.onclick = () => this.sort(name);
      const head = make("th", { scope: "col", class: name, "aria-sort": "none" }, button);
      $("columns").append(head);
      return { name, head };
    });
    $("columns").append(
      make("th", { class: "acts" }, make("span", { class: "hidden", "data-t": "column.acts" })),
    );
  }

  sort(name) {
    this.down = this.sorted === name ? !this.down : FIRST_DOWN.has(name);
    this.sorted = name;
    for (const { name: other, head } of this.heads)
      head.setAttribute("aria-sort", other !== name ? "none" : this.down ? "descending" : "ascending");
    this.order();
  }

  /** The items in the order in which they stand. */
  ordered(items = [...this.rows.keys()]) {
    if (!this.sorted) return items;
    const compare = COLUMNS[this.sorted];
    return [...items].sort((a, b) => (this.down ? -1 : 1) * compare(a, b) || a.id - b.id);
  }

  order() {
    const rows = this.ordered().map((item) => this.rows.get(item).row);
    const body = $("items");
    if (rows.some((row, i) => body.children[i] !== row)) {
      const focused = document.activeElement;
      body.replaceChildren(...rows);
      if (body.contains(focused)) focused.focus({ preventScroll: true });
    }
  }

  orderSoon() {
    if (!this.sorted || this.waiting) return;
    this.waiting = setTimeout(() => {
      this.waiting = 0;
      this.order();
    }, ORDER_MS);
  }

  add(items) {
    for (const item of items) {
      const open = make("button", { type: "button", class: "open", title: item.name }, item.name);
      const cells = Object.fromEntries(
        Object.keys(COLUMNS).map((name) => [name, make(name === "file" ? "th" : "td", { class: name })]),
      );
      cells.file.scope = "row";
      cells.file.append(open);
      const acts = make("td", { class: "acts" });
      const row = make("tr", {}, ...Object.values(cells), acts);
      row.onclick = (event) => event.target.closest(".acts") || this.acts.onOpen(item);
      this.rows.set(item, { row, cells, acts });
      $("items").append(row);
      this.update(item, "state");
    }
  }

  remove(item) {
    this.rows.get(item)?.row.remove();
    this.rows.delete(item);
  }

  select(item) {
    for (const [other, { row }] of this.rows) row.toggleAttribute("data-selected", other === item);
  }

  update(item, what) {
    const found = this.rows.get(item);
    if (!found) return;
    const { row, cells, acts } = found;
    this.state(item, cells.state);
    if (what === "progress") return;
    row.dataset.state = item.state;
    const { result } = item;
    const shown = result && [
      make("span", { class: "emoji", "aria-hidden": "true" }, emotionOf(result.emotion).emoji),
      bothNames(result.emotion),
    ];
    cells.emotion.replaceChildren(...(shown ?? ["–"]));
    cells.confidence.textContent = result ? percent(result.confidence) : "–";
    if (result) say(cells.duration, "{length}", { length: () => length(result.duration_s) });
    else forget(cells.duration);
    cells.utterances.textContent = result?.utterances ? result.utterances.length : "–";
    const can = isOpen(item) ? ["cancel"] : item.state === "done" ? ["remove"] : ["retry", "remove"];
    acts.replaceChildren(...can.map((act) => this.act(item, act)));
    this.orderSoon();
  }

  state(item, cell) {
    const [key, values] = stateText(item);
    let text = cell.querySelector("span");
    if (!text) cell.append((text = make("span")), make("i"));
    say(text, key, values);
    const part =
      item.state === "uploading"
        ? item.upload
        : item.state === "working" && item.totalS
          ? item.doneS / item.totalS
          : 0;
    cell.lastElementChild.style.setProperty("--p", Math.min(1, part));
    cell.lastElementChild.hidden = item.state !== "uploading" && item.state !== "working";
  }

  act(item, act) {
    const button = make(
      "button",
      { type: "button", class: "quiet", "data-act": act },
      { cancel: "✕", retry: "↻", remove: "✕" }[act],
    );
    const key = act === "cancel" ? "cancel" : act === "retry" ? "retry" : "remove";
    button.setAttribute("aria-label", `${t(key)}: ${item.name}`);
    button.title = t(key);
    button.onclick = () => this.acts[{ cancel: "onCancel", retry: "onRetry", remove: "onRemove" }[act]](item);
    return button;
  }
}

function forget(cell) {
  delete cell.dataset.t;
  cell.textContent = "–";
}
