/* What may be said of nine scores, and how surely: one emotion, one of two, or none in particular. No page. */

import { LABELS } from "./emotions.js";

export const LEAD = 0.1; // what leads by less is `ambiguous` to the server too: most often wrong
export const CLEAR = 0.5; // what is less sure is `uncertain` to the server too: wrong more often than right
const PRESENT = 0.25; // from so much on a second label is worth naming beside one that is not sure

/** @typedef {"sure" | "either" | "mixed"} Sureness */
/** @typedef {{label: string, other: string, sure: Sureness, confidence: number, rest: number}} Feeling
 *    `other`: the next likeliest, at `rest` */

/** `held`: the label to stay with, whatever is likeliest.
 *  @param {number[]} row in label order @param {string} [held] @returns {Feeling} */
export function feelingOf(row, held) {
  const ranked = LABELS.map((label, i) => ({ label, p: row[i] })).sort((a, b) => b.p - a.p);
  const first = ranked.find(({ label }) => label === held) ?? ranked[0];
  const second = ranked.find(({ label }) => label !== first.label) ?? first;
  return feelingOfTwo(first.label, first.p, second.label, second.p);
}

/** The same by the two likeliest.
 *  @param {string} label @param {number} confidence @param {string} other @param {number} rest
 *  @returns {Feeling} */
export function feelingOfTwo(label, confidence, other, rest) {
  const torn = confidence - rest < LEAD && rest >= PRESENT;
  const sure = torn ? "either" : confidence < CLEAR ? "mixed" : "sure";
  return { label, other, sure, confidence, rest };
}
