/* What came of one run, to be saved when it is over: a row for each utterance, loss and alert, in times of the
   page. The audio is not in it. No page in here. */

import { LABELS, asRow } from "../shared/emotions.js";
import { csvOf } from "../shared/csv.js";

/** @import { Alert, Utterance } from "../../client/emotion-stream.js" */
/** @typedef {{kind: "utterance" | "lost" | "alert", start_ms: number, end_ms: number, emotion?: string,
 *             confidence?: number, ambiguous?: boolean, uncertain?: boolean, second?: string | null,
 *             arousal?: number, valence?: number, scores?: Record<string, number>, note?: string,
 *             rule?: string, state?: string, level?: string, message?: string, message_zh?: string}} Row */

const MOST = 20_000; // a day of talking
const SURE = /** @type {const} */ (["confidence", "ambiguous", "uncertain", "second", "arousal", "valence"]);
const HEAD = ["kind", "start_ms", "end_ms", "emotion", ...SURE, ...LABELS, "note"];

export class RunRecord {
  began = new Date();
  /** @type {Row[]} */
  #rows = [];

  /** @param {Utterance} utterance @param {number} originMs of its session */
  addUtterance({ start_ms: start, end_ms: end, emotion, scores, taught, ...told }, originMs) {
    const sure = Object.fromEntries(SURE.map((name) => [name, told[name]]));
    const row = { emotion, ...sure, scores, ...(taught ? { note: taught.label } : {}) };
    this.#add({ kind: "utterance", start_ms: originMs + start, end_ms: originMs + end, ...row });
  }

  /** @param {number} start @param {number} end @param {string} code */
  addLost(start, end, code) {
    this.#add({ kind: "lost", start_ms: start, end_ms: end, note: code });
  }

  /** @param {Alert} alert @param {number} atMs */
  addAlert({ rule, state, level, message, message_zh: chinese }, atMs) {
    const note = `${rule} ${state}: ${message}`;
    const said = { rule, state, level, message, ...(chinese ? { message_zh: chinese } : {}) };
    this.#add({ kind: "alert", start_ms: atMs, end_ms: atMs, note, ...said });
  }

  get utterances() {
    return this.#rows
      .filter(({ kind }) => kind === "utterance")
      .map(({ emotion = "", confidence = 0, scores = {}, ...row }) => ({
        ...row,
        emotion,
        confidence,
        scores,
      }));
  }

  /** What was raised, not that it was over. */
  get alerts() {
    return this.#rows
      .filter(({ kind, state }) => kind === "alert" && state !== "cleared")
      .map(({ start_ms: at, level = "", message = "", message_zh }) => ({
        at_ms: at,
        level,
        message,
        message_zh,
      }));
  }

  /** @param {Row} row */
  #add(row) {
    if (this.#rows.length < MOST) this.#rows.push(row);
  }

  /** The name of its files, without what they end with: emotion-2026-11-28-18-07 */
  get name() {
    const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
    const { began: at } = this;
    const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
    return `emotion-${day}-${two(at.getHours())}-${two(at.getMinutes())}`;
  }

  csv() {
    const rows = this.#rows.map((row) => [
      ...[row.kind, row.start_ms, row.end_ms, row.emotion, ...SURE.map((name) => row[name])],
      ...(row.scores ? asRow(row.scores) : LABELS.map(() => undefined)),
      row.note,
    ]);
    return csvOf([HEAD, ...rows]);
  }

  /** `model`: that scored it. `totals`: of the run.
   *  @param {string} model @param {import("./totals.js").Totals} totals */
  json(model, { audioMs, speechMs, lostMs, share }) {
    const figures = { audio_ms: audioMs, speech_ms: speechMs, lost_ms: lostMs, share };
    return JSON.stringify({ began: this.began.toISOString(), model, ...figures, rows: this.#rows }, null, 2);
  }
}
