/* The board: a map of recordings, a list of the same, what is selected in both, and what is done with that. */

import { $, make, notify } from "../shared/parts.js";
import { known, onLanguage, percent, say, t, takeNames } from "../shared/text.js";
import { audioUrl, fetchMap, Refused, saveLabel } from "./calls.js";
import { Chart } from "./chart.js";
import { List } from "./list.js";
import { Teaching } from "./teaching.js";
import { nameOfEmotion, nameOfGroup, nameOfLabel, Points } from "./points.js";

/** @import { By } from "./points.js" */
/** @import { Act } from "../shared/parts.js" */

export class Board {
  /** @type {Points | null} */
  #points = null;
  /** @type {Set<number>} */
  #selected = new Set();
  #current = -1; // the recording that is listened to
  /** @type {By} */
  #by = "group";
  #lasso = false;
  #chart = new Chart($("map", HTMLCanvasElement), {
    onPick: (number, add) => this.#pick(number, add),
    onLasso: (numbers, add) => this.#select(add ? [...this.#selected, ...numbers] : numbers, true),
    onHover: (number, x, y) => this.#tip(number, x, y),
    onStep: (number) => this.#step(number),
    lasso: () => this.#lasso,
  });
  #list = new List({
    onSelect: (number, on) => this.#toggle(number, on),
    onListen: (number) => this.#listen(number),
  });
  #teaching = new Teaching(showProblem);
  #audio = $("audio", HTMLAudioElement);

  async open() {
    this.#wire();
    try {
      this.#points = new Points(await fetchMap());
    } catch (problem) {
      return showProblem(problem);
    }
    const { data } = this.#points;
    takeNames(data.labels_zh);
    const part = data.laid_out < this.#points.n;
    const count = (/** @type {number} */ n) => n.toLocaleString("en");
    const method = () => data.method.replace(" and ", t("and"));
    const values = { ...data, n: count(this.#points.n), some: count(data.laid_out), method };
    say($("map-note"), part ? "map.part" : "map.note", values);
    say($("labels-how"), "labels.how", { n: data.fewest });
    if (data.loose) notify("loose", "warn", "map.loose");
    $("label", HTMLInputElement).maxLength = data.longest;
    this.#chart.show(this.#points);
    this.#list.show(this.#points);
    this.#recolor();
    this.#select([], false);
    document.body.dataset.ready = "true";
  }

  #wire() {
    for (const input of document.querySelectorAll("[name=by]")) {
      const radio = /** @type {HTMLInputElement} */ (input);
      radio.onchange = () => {
        this.#by = /** @type {By} */ (radio.value);
        this.#recolor();
      };
    }
    $("zoom-in").onclick = () => this.#chart.zoom(1);
    $("zoom-out").onclick = () => this.#chart.zoom(-1);
    $("zoom-all").onclick = () => this.#chart.whole();
    $("lasso").onclick = () => {
      this.#lasso = !this.#lasso;
      $("lasso").setAttribute("aria-pressed", String(this.#lasso));
      $("map").dataset.lasso = String(this.#lasso);
    };
    $("none").onclick = () => this.#select([], false);
    $("take").onclick = () => this.#label(null);
    $("give", HTMLFormElement).onsubmit = (event) => {
      event.preventDefault();
      this.#label($("label", HTMLInputElement).value.trim());
    };
    this.#audio.onerror = () => ($("one-silent").hidden = !this.#audio.hasAttribute("src"));
    onLanguage(() => this.#recolor());
  }

  // -- what is selected --------------------------------------------------------------------------

  /** @param {number | null} number @param {boolean} add */
  #pick(number, add) {
    if (number === null || number < 0) return this.#select([], false);
    this.#show(number);
    if (add) this.#toggle(number, !this.#selected.has(number));
    else this.#select([number], false);
  }

  /** @param {number} number @param {boolean} on */
  #toggle(number, on) {
    if (on) this.#selected.add(number);
    else this.#selected.delete(number);
    this.#select(this.#selected, false);
  }

  /** @param {Iterable<number>} numbers @param {boolean} only whether the list is to show those alone */
  #select(numbers, only) {
    this.#selected = new Set(numbers);
    const n = this.#selected.size;
    this.#chart.select(this.#selected, this.#current);
    this.#list.select(this.#selected, only);
    say($("selected"), "selected", { n: n.toLocaleString("en") });
    for (const id of ["give-button", "take", "none"]) $(id, HTMLButtonElement).disabled = n === 0;
  }

  /** @param {number} number */
  #step(number) {
    this.#show(number);
    say($("announce"), "{what}", { what: () => this.#words(number).join(", ") });
  }

  // -- one recording -----------------------------------------------------------------------------

  /** @param {number} number */
  #words(number) {
    const { data, label } = /** @type {Points} */ (this.#points);
    const words = [data.name[number], nameOfGroup(data.group[number])];
    words.push(`${nameOfEmotion(data.emotion[number])} ${percent(data.confidence[number])}`);
    if (label[number] !== null) words.push(nameOfLabel(label[number]));
    return words;
  }

  /** @param {number} number */
  #show(number) {
    const { data } = /** @type {Points} */ (this.#points);
    if (number !== this.#current) {
      this.#audio.src = audioUrl(number);
      $("one-silent").hidden = true;
    }
    this.#current = number;
    $("one").hidden = false;
    $("one-none").hidden = true;
    $("one-name").textContent = data.name[number];
    say($("one-facts"), "one.facts", {
      group: () => nameOfGroup(data.group[number]),
      emotion: () => nameOfEmotion(data.emotion[number]),
      confidence: percent(data.confidence[number]),
      seconds: data.duration_s[number].toFixed(1),
      at: () => new Date(data.scored[number]).toLocaleString(document.documentElement.lang),
    });
    const page = data.page[number];
    $("one-page").hidden = page === null;
    if (page) $("one-page").firstElementChild?.setAttribute("href", page);
    this.#chart.select(this.#selected, number);
  }

  /** @param {number} number */
  async #listen(number) {
    this.#show(number);
    try {
      await this.#audio.play();
    } catch {
      // There is none, as is said beside it; or another one was asked for meanwhile.
    }
  }

  /** @param {number | null} number @param {number} x @param {number} y */
  #tip(number, x, y) {
    const tip = $("tip");
    tip.hidden = number === null;
    if (number === null) return;
    const [name, ...others] = this.#words(number);
    tip.replaceChildren(make("b", {}, name), make("span", {}, others.join(" · ")));
    const { clientWidth, clientHeight } = $("map");
    tip.style.left = `${Math.min(x + 14, Math.max(clientWidth - tip.offsetWidth - 4, 4))}px`;
    tip.style.top = `${Math.min(y + 14, Math.max(clientHeight - tip.offsetHeight - 4, 4))}px`;
  }

  // -- colors and labels -------------------------------------------------------------------------

  #recolor() {
    const points = this.#points;
    if (!points) return;
    const kinds = points.kinds(this.#by);
    this.#chart.color(kinds);
    const entries = kinds.map(({ name, color, members }) => {
      const n = members.length.toLocaleString("en");
      const button = make(
        "button",
        { type: "button", class: "kind" },
        name(),
        make("span", { class: "value" }, n),
      );
      button.title = t("legend.select", { n });
      button.style.setProperty("--c", color);
      button.onclick = () => this.#select(members, true);
      return make("li", {}, button);
    });
    $("legend").replaceChildren(...entries);
    const labels = points.labels();
    $("known").replaceChildren(...labels.map(({ name }) => make("option", { value: name })));
    $("given").replaceChildren(...labels.map(({ name, n }) => make("li", {}, make("b", {}, name), ` ${n}`)));
    this.#teaching.show(labels, points.data.fewest);
  }

  /** @param {string | null} name */
  async #label(name) {
    const points = this.#points;
    const numbers = [...this.#selected];
    if (!points || !numbers.length || name === "") return;
    try {
      await saveLabel(numbers, name);
    } catch (problem) {
      return showProblem(problem);
    }
    for (const number of numbers) points.label[number] = name;
    this.#recolor();
    this.#list.draw();
  }
}

/** @param {unknown} problem @param {Act} [act] */
export function showProblem(problem, act) {
  const { code, values } =
    problem instanceof Refused ? problem : new Refused("OTHER", { message: String(problem) });
  const name = known(`error.${code}`) ? code : "OTHER";
  notify(code, "error", `error.${name}`, `error.${name}.do`, { message: code, ...values }, act);
}
