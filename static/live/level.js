/* How loud the input is, and whether that will do: said of speech alone, since a quiet room is not too quiet. */

import { $ } from "../shared/parts.js";
import { say } from "../shared/text.js";

const LEAST_DB = -60;
const QUIET_DB = -42; // speech below this is close to the noise of most devices
const FULL = 32_700; // a sample up here was cut off
const CUT_SAMPLES = 3; // one after the other: a peak that just fits is no fault
const HELD = 30; // chunks (3 s) that a judgment stands: what changes ten times a second cannot be read

/** @typedef {"quiet" | "clipped" | "good"} Judgment */

export class Level {
  #left = 0;
  #loudest = -Infinity; // of the last stretch of speech, in dB
  /** @type {Judgment | ""} */
  #judgment = "";

  /** @param {ArrayBuffer} pcm of 16 bit @param {number} level its RMS, 0 … 1 @param {boolean} speaking */
  show(pcm, level, speaking) {
    const db = Math.max(LEAST_DB, 20 * Math.log10(level || 1e-9));
    $("level-bar").style.setProperty("--p", String(1 - db / LEAST_DB));
    $("level").setAttribute("aria-valuenow", String(Math.round(db)));
    if (isCut(new Int16Array(pcm))) this.#judge("clipped");
    else if (speaking) this.#loudest = Math.max(this.#loudest, db);
    if (--this.#left > 0 || this.#loudest === -Infinity) return;
    this.#judge(this.#loudest < QUIET_DB ? "quiet" : "good");
    this.#loudest = -Infinity;
  }

  /** @param {Judgment} judgment */
  #judge(judgment) {
    this.#left = HELD;
    if (judgment === this.#judgment) return;
    this.#judgment = judgment;
    $("level").dataset.judgment = judgment;
    say($("level-hint"), `level.${judgment}`);
  }

  /** Nothing comes in. */
  clear() {
    this.#left = 0;
    this.#loudest = -Infinity;
    this.#judgment = "";
    $("level-bar").style.setProperty("--p", "0");
    $("level").setAttribute("aria-valuenow", String(LEAST_DB));
    delete $("level").dataset.judgment;
    say($("level-hint"), "level.hint");
  }
}

/** @param {Int16Array} samples */
function isCut(samples) {
  let row = 0;
  for (const sample of samples) {
    row = Math.abs(sample) >= FULL ? row + 1 : 0;
    if (row === CUT_SAMPLES) return true;
  }
  return false;
}
