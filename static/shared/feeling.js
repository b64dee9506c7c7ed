/* What may be said of nine scores, and how surely: one emotion, one of two, or none in particular. No page. */

import { LABELS } from "./emotions.js";

export const LEAD = 0.1; // what leads by less is `ambiguous` to the server too: most often wrong
export const CLEAR = 0.35; // a likeliest emotion below this is none to be named

/** @typedef {"sure" | "either" | "mixed"} Sureness */
/** @typedef {{label: string, other: string, sure: Sureness, confidence: number, rest: number}} Feeling
 *    `other`: the next likeliest, at `rest` */

/** `held`: the label to stay with, whatever is likeliest.
 *  @param {number[]} row in label order @param {string} [held] @returns {Feeling} */
export function feelingOf(row, held) {
  const ranked = LABELS.map((label, i) => ({ label, p: row[i] })).sort((a, b) => b.p - a.p);
  const first = ranked.find(({ label }) => label === held) ?? ranked[0];
  const second = ranked.find(({ label }) => label !== first.label) ?? first;
  const lead = first.p - second.p;
  const sure = first.p < CLEAR ? "mixed" : lead < LEAD ? "either" : "sure";
  return { label: first.label, other: second.label, sure, confidence: first.p, rest: second.p };
}
