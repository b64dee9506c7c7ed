/* What stands above the cards: the totals, the share of each emotion, and which sessions are to be shown in what
   order. */

import { EMOTIONS, LABELS } from "../shared/emotions.js";
import { $, make } from "../shared/parts.js";
import { names, percent, say } from "../shared/text.js";
import { EVERYTHING, TAGS_TO_FILTER } from "./store.js";

/** @import { Filter, Order, Store, Totals } from "./store.js" */

const SELECTS = /** @type {const} */ (["level", ...TAGS_TO_FILTER]);

export class Filters {
  filter = { ...EVERYTHING };
  /** @type {Order} */
  order = "trouble";
  #onFilter;
  #shares = EMOTIONS.map(({ label, emoji }) => this.#share(label, emoji));

  /** `onFilter()`: other sessions are to be shown. `onOrder()`: in another order.
   *  @param {{onFilter: () => void, onOrder: () => void}} hooks */
  constructor({ onFilter, onOrder }) {
    this.#onFilter = onFilter;
    const text = $("filter-text", HTMLInputElement);
    text.oninput = () => this.#choose({ text: text.value.trim() });
    for (const name of SELECTS) {
      const select = selectOf(name);
      select.onchange = () => this.#choose({ [name]: select.value });
    }
    const order = $("order", HTMLSelectElement);
    order.onchange = () => {
      this.order = /** @type {Order} */ (order.value);
      onOrder();
    };
    $("clear").onclick = () => this.#choose(EVERYTHING);
  }

  /** @param {Partial<Filter>} change */
  #choose(change) {
    this.filter = { ...this.filter, ...change };
    $("filter-text", HTMLInputElement).value = this.filter.text;
    for (const name of SELECTS) selectOf(name).value = this.filter[name];
    for (const { label, button } of this.#shares) {
      button.setAttribute("aria-pressed", String(this.filter.emotion === label));
    }
    this.#onFilter();
  }

  /** One emotion's part of the bar, and the button below it that shows its sessions alone.
   *  @param {string} label @param {string} emoji */
  #share(label, emoji) {
    const part = make("i", { "data-emotion": label });
    const count = make("span", { class: "value" });
    const name = make("span", { class: "hidden" });
    say(name, "{name}", { name: () => names(label)[0] });
    const face = make("span", { class: "emoji", "aria-hidden": "true" }, emoji);
    const attributes = { type: "button", "data-emotion": label, "aria-pressed": false };
    const button = make("button", attributes, face, name, count);
    button.onclick = () => this.#choose({ emotion: this.filter.emotion === label ? "" : label });
    $("share").append(part);
    $("share-legend").append(make("li", {}, button));
    return { label, part, count, button };
  }

  /** @param {number} shown @param {number} all sessions */
  showCount(shown, all) {
    say($("shown"), "desk.shown", { shown, all });
    $("clear").hidden = JSON.stringify(this.filter) === JSON.stringify(EVERYTHING);
    $("none").hidden = !(all > 0 && shown === 0);
  }

  /** @param {Totals} totals */
  showTotals({ live, speaking, open, emotions }) {
    put($("count-live"), live);
    put($("count-speaking"), speaking);
    put($("count-open"), open.critical + open.warning + open.info);
    put($("count-critical"), open.critical);
    $("critical").dataset.some = String(open.critical > 0);
    const all = emotions.reduce((sum, n) => sum + n, 0) || 1;
    this.#shares.forEach(({ part, count, button }, i) => {
      part.style.setProperty("--p", String(emotions[i] / all));
      put(count, emotions[i] ? percent(emotions[i] / all) : "–");
      button.dataset.some = String(emotions[i] > 0);
      button.title = `${names(LABELS[i]).join(" ")}: ${emotions[i]}`;
    });
  }

  /** Queues and languages to choose from, as far as sessions have any.
   *  @param {Store} store */
  showChoices(store) {
    for (const tag of TAGS_TO_FILTER) {
      const values = store.values(tag);
      const select = selectOf(tag);
      const chosen = this.filter[tag];
      if (chosen && !values.includes(chosen)) values.push(chosen);
      $(`label-${tag}`).hidden = values.length === 0;
      const had = [...select.options].slice(1).map(({ value }) => value);
      if (had.join("\n") === values.join("\n")) continue;
      select.replaceChildren(select.options[0], ...values.map((value) => make("option", { value }, value)));
      select.value = chosen;
    }
  }
}

/** @param {string} name */
function selectOf(name) {
  return $(`filter-${name}`, HTMLSelectElement);
}

/** @param {HTMLElement} element @param {string | number} text */
function put(element, text) {
  if (element.textContent !== String(text)) element.textContent = String(text);
}
