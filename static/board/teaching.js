/* A classifier from the labels that were given: asked for, and what came of it. */

import { $, clearNotice, make } from "../shared/parts.js";
import { percent, say } from "../shared/text.js";
import { teachLabels, Refused } from "./calls.js";

/** @import { Act } from "../shared/parts.js" */
/** @import { Taught } from "./calls.js" */

export class Teaching {
  #onProblem;
  #enough = false;
  #busy = false;
  #button = $("teach-button", HTMLButtonElement);

  /** @param {(problem: unknown, act?: Act) => void} onProblem */
  constructor(onProblem) {
    this.#onProblem = onProblem;
    $("teach", HTMLFormElement).onsubmit = (event) => {
      event.preventDefault();
      this.#teach(false);
    };
  }

  /** @param {{name: string, n: number}[]} labels that there are @param {number} fewest of each */
  show(labels, fewest) {
    this.#enough = labels.length >= 2 && labels.every(({ n }) => n >= fewest);
    this.#draw();
  }

  #draw() {
    this.#button.disabled = !this.#enough || this.#busy;
    say(this.#button, this.#busy ? "teach.busy" : "teach");
  }

  /** @param {boolean} replace what is there */
  async #teach(replace) {
    const name = $("teach-name", HTMLInputElement).value.trim();
    this.#busy = true;
    $("taught").hidden = true;
    clearNotice("EXISTS");
    this.#draw();
    try {
      this.#tell(await teachLabels(name, replace));
    } catch (problem) {
      const there = problem instanceof Refused && problem.code === "EXISTS";
      this.#onProblem(problem, there ? { text: "replace", run: () => this.#teach(true) } : undefined);
    }
    this.#busy = false;
    this.#draw();
  }

  /** @param {Taught} taught */
  #tell(taught) {
    const digits = (/** @type {number} */ p) => p.toFixed(2);
    const [low, high] = taught.uar_interval_95.map(digits);
    const parts = [
      line("taught.uar", { uar: digits(taught.uar), low, high, chance: digits(taught.chance) }),
      ...(taught.better_than_chance ? [] : [line("taught.chance", {}, "warn")]),
      line(taught.folds_keep_sub_folders_together ? "taught.groups" : "taught.voices"),
      ...(taught.few ? [line("taught.few")] : []),
      ...(taught.doubles ? [line("taught.doubles", { n: taught.doubles })] : []),
    ];
    const recall = Object.entries(taught.recall).map(([label, found]) => {
      const item = make("li");
      say(item, "taught.recall", { label, recall: percent(found), n: taught.clips[label] });
      return item;
    });
    parts[0].className = "uar";
    $("taught").replaceChildren(
      ...parts,
      make("ul", {}, ...recall),
      make("p", {}, make("span", { "data-t": "taught.where" }), " ", make("code", {}, taught.where)),
      make("p", {}, make("span", { "data-t": "taught.use" }), " ", make("code", {}, taught.command)),
    );
    $("taught").hidden = false;
  }
}

/** @param {string} key @param {import("../shared/text.js").Values} [values] @param {string} [kind] */
function line(key, values, kind = "small") {
  const text = make("p", { class: kind });
  say(text, key, values);
  return text;
}
