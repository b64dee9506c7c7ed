/* The recordings as a table: searched, selected, listened to. It shows the first 200, the map all. */

import { $, make } from "../shared/parts.js";
import { percent, say } from "../shared/text.js";
import { nameOfEmotion, nameOfGroup } from "./points.js";

/** @import { Points } from "./points.js" */
/** @typedef {{onSelect: (number: number, on: boolean) => void, onListen: (number: number) => void}} Hooks */

const MOST = 200; // rows

export class List {
  #hooks;
  /** @type {Points | null} */
  #points = null;
  /** @type {Set<number>} */
  #selected = new Set();
  #search = $("search", HTMLInputElement);
  #only = $("only", HTMLInputElement);

  /** @param {Hooks} hooks */
  constructor(hooks) {
    this.#hooks = hooks;
    this.#search.oninput = this.#only.onchange = () => this.draw();
  }

  /** @param {Points} points */
  show(points) {
    this.#points = points;
    this.draw();
  }

  /** @param {Set<number>} selected @param {boolean} only whether those alone are wanted from now on */
  select(selected, only) {
    this.#selected = selected;
    this.#only.checked = selected.size > 0 && (only || this.#only.checked);
    this.draw();
  }

  draw() {
    const points = this.#points;
    if (!points) return;
    const wanted = this.#search.value.trim().toLowerCase();
    const all = [];
    for (let i = 0; i < points.n; i++) {
      if (this.#only.checked && !this.#selected.has(i)) continue;
      if (!wanted || points.data.name[i].toLowerCase().includes(wanted)) all.push(i);
    }
    const shown = all.slice(0, MOST);
    const focused = document.activeElement?.id; // the row that is being worked on is made anew
    $("items").replaceChildren(...shown.map((i) => this.#row(points, i)));
    if (focused?.startsWith("row-")) document.getElementById(focused)?.focus();
    const more = all.length > MOST;
    say($("list-note"), more ? "list.more" : "list.note", {
      n: shown.length.toLocaleString("en"),
      all: (more ? all.length : points.n).toLocaleString("en"),
    });
  }

  /** @param {Points} points @param {number} i */
  #row(points, i) {
    const { data, label } = points;
    const name = () => data.name[i];
    const check = make("input", { type: "checkbox", id: `row-${i}`, "aria-labelledby": `row-${i}-words` });
    check.checked = this.#selected.has(i);
    check.onchange = () => this.#hooks.onSelect(i, check.checked);
    const id = `row-listen-${i}`;
    const listen = make(
      "button",
      { type: "button", class: "quiet", id, "aria-labelledby": `${id}-words` },
      "▶",
    );
    listen.onclick = () => this.#hooks.onListen(i);
    return make(
      "tr",
      {},
      cell("td", "pick", check, words(check.id, "row.select", name)),
      cell("th", "who", data.name[i]),
      said("td", () => nameOfGroup(data.group[i])),
      emotionCell(data.emotion[i]),
      cell("td", "number", percent(data.confidence[i])),
      cell("td", "mark", label[i] ?? ""),
      cell("td", "listen", listen, words(listen.id, "row.listen", name)),
    );
  }
}

/** What a control in a row is, for those who hear it.
 *  @param {string} id @param {string} key @param {() => string} name */
function words(id, key, name) {
  const text = make("span", { class: "hidden", id: `${id}-words` });
  say(text, key, { name });
  return text;
}

/** @param {"td" | "th"} tag @param {string} kind @param {(Node | string)[]} children */
function cell(tag, kind, ...children) {
  return make(tag, tag === "th" ? { class: kind, scope: "row" } : { class: kind }, ...children);
}

/** @param {"td"} tag @param {() => string} text */
function said(tag, text) {
  const element = make(tag);
  say(element, "{name}", { name: text });
  return element;
}

/** @param {string} label */
function emotionCell(label) {
  const name = make("span");
  say(name, "{name}", { name: () => nameOfEmotion(label) });
  return make("td", { class: "emotion", "data-emotion": label }, name);
}
