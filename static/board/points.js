/* The recordings of a map, and the ways to sort them into colors. Nothing here touches the page. */

import { LABELS } from "../shared/emotions.js";
import { names, t } from "../shared/text.js";

/** @import { MapData } from "./calls.js" */
/** @typedef {"group" | "emotion" | "label"} By */
/** @typedef {{key: string, name: () => string, color: string, members: number[]}} Kind
 *    `color`: as in CSS */

const NONE = "var(--unknown)";

export class Points {
  /** @param {MapData} data */
  constructor(data) {
    this.data = data;
    this.x = Float32Array.from(data.x);
    this.y = Float32Array.from(data.y);
    this.label = data.label;
  }

  get n() {
    return this.x.length;
  }

  /** Those that there are, in the order of the legend.
   *  @param {By} by @returns {Kind[]} */
  kinds(by) {
    const { group, emotion, colors } = this.data;
    /** @param {number} i */
    const color = (i) => colors[i % colors.length];
    if (by === "emotion") return this.#sorted(emotion, LABELS, nameOfEmotion, (i) => `var(--${LABELS[i]})`);
    if (by === "group") {
      const numbers = [...Array(this.data.groups).keys(), -1];
      return this.#sorted(group, numbers, nameOfGroup, (i) => (numbers[i] < 0 ? NONE : color(i)));
    }
    const given = this.labels().map(({ name }) => name);
    /** @type {(string | null)[]} */
    const all = [...given, null];
    return this.#sorted(this.label, all, nameOfLabel, (i) => (all[i] === null ? NONE : color(i)));
  }

  /** @template {string | number | null} T
   *  @param {T[]} values @param {T[]} all @param {(value: T) => string} name @param {(at: number) => string} color
   *  @returns {Kind[]} */
  #sorted(values, all, name, color) {
    /** @type {Map<T, number[]>} */
    const held = new Map(all.map((value) => [value, []]));
    values.forEach((value, i) => held.get(value)?.push(i));
    const kinds = all.map((value, at) => ({
      key: String(value),
      name: () => name(value),
      color: color(at),
      members: held.get(value) ?? [],
    }));
    return kinds.filter(({ members }) => members.length);
  }

  /** The labels that were given, by name, and how often. */
  labels() {
    /** @type {Map<string, number>} */
    const counts = new Map();
    for (const label of this.label) if (label !== null) counts.set(label, (counts.get(label) ?? 0) + 1);
    return [...counts].map(([name, n]) => ({ name, n })).sort((a, b) => a.name.localeCompare(b.name));
  }
}

/** @param {string} label */
export function nameOfEmotion(label) {
  return names(label)[0];
}

/** @param {number} group */
export function nameOfGroup(group) {
  return group < 0 ? t("group.none") : t("group", { n: group });
}

/** @param {string | null} label */
export function nameOfLabel(label) {
  return label ?? t("label.none");
}
