/* What is named as the emotion of now: it does not flicker. A label stays until another has led it for a while,
   and a voice that has just begun has none yet. All in ms of audio: a slow page names what a quick one does. */

import { LABELS } from "../shared/emotions.js";
import { LEAD, feelingOf } from "../shared/feeling.js";

/** @import { Feeling } from "../shared/feeling.js" */

const FIRST_MS = 500; // of a voice: too little to name anything
const HOLD_MS = 400; // for so long another leads before it is named

export class Steady {
  #beganMs = 0;
  #label = "";
  #rivalSinceMs = /** @type {number | null} */ (null);

  /** Somebody begins to speak. @param {number} atMs */
  begin(atMs) {
    this.#beganMs = atMs;
    this.#label = "";
    this.#rivalSinceMs = null;
  }

  /** The scores in `row` are those at `atMs`; null while it is too early to name one.
   *  @param {number} atMs @param {number[]} row @returns {Feeling | null} */
  take(atMs, row) {
    if (atMs - this.#beganMs < FIRST_MS) return null;
    const likeliest = LABELS[row.indexOf(Math.max(...row))];
    if (!this.#label) this.#label = likeliest;
    const leads = Math.max(...row) - row[LABELS.indexOf(this.#label)] >= LEAD;
    this.#rivalSinceMs = leads ? (this.#rivalSinceMs ?? atMs) : null;
    if (this.#rivalSinceMs !== null && atMs - this.#rivalSinceMs >= HOLD_MS) {
      this.#label = likeliest;
      this.#rivalSinceMs = null;
    }
    return feelingOf(row, this.#label);
  }
}
