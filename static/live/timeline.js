/* The last minute, as the chart needs it: the smoothed state in bins of 50 ms, spans of speech, utterances,
   lost stretches. Times are milliseconds of audio since "start" was pressed. No drawing, no page in here. */

import { LABELS } from "../shared/emotions.js";

export const SHOWN_MS = 60_000;
const BIN_MS = 50; // a point for every pixel of a wide screen
const KEPT_MS = SHOWN_MS + 5_000;

/** @typedef {{start: number, end?: number}} Speech `end` is undefined while it goes on */
/** @import { Sureness } from "../shared/feeling.js" */
/** @typedef {{start: number, end: number, emotion: string, sure: Sureness}} Utterance */
/** @typedef {{start: number, end: number, code?: string}} Lost */

export class Timeline {
  now = 0; // how much audio the microphone has given
  /** @type {Speech[]} */
  speech = [];
  /** @type {Utterance[]} */
  utterances = [];
  /** @type {Lost[]} */
  lost = [];
  /** @type {Map<number, number[]>} number of the bin → nine probabilities */
  #bins = new Map();
  /** @type {{end: number, row: number[]} | null} the last state, to draw on from */
  #latest = null;
  /** @type {{end: number, at: number}[]} when which audio came from the microphone, for the delay */
  #arrivals = [];

  /** @param {number} ms @param {number} at */
  addAudio(ms, at) {
    this.now += ms;
    this.#arrivals.push({ end: this.now, at });
    this.#forget();
  }

  /** When the sound at `ms` was at the microphone, or undefined.
   *  @param {number} ms */
  arrivalOf(ms) {
    const arrival = this.#arrivals.find(({ end }) => end >= ms);
    return arrival && arrival.at - (arrival.end - ms); // it waited for its chunk to fill
  }

  /** The smoothed state was `row` after the frames [start, end). Between two states the chart goes straight.
   *  @param {number} start @param {number} end @param {number[]} row */
  addState(start, end, row) {
    const latest = this.#latest;
    const from = latest && Math.abs(start - latest.end) < BIN_MS ? latest.row : row;
    const first = Math.floor(start / BIN_MS);
    const last = Math.ceil(end / BIN_MS);
    for (let number = first; number < last; number++) {
      const way = (number + 1 - first) / (last - first);
      this.#bins.set(
        number,
        row.map((p, i) => from[i] + way * (p - from[i])),
      );
    }
    this.#latest = { end, row };
  }

  /** @param {number} start */
  startSpeech(start) {
    this.speech.push({ start });
  }

  /** @param {number} end */
  endSpeech(end) {
    const last = this.speech.at(-1);
    if (last && last.end === undefined) last.end = end;
  }

  /** @param {number} start @param {number} end @param {string} emotion @param {Utterance["sure"]} sure */
  addUtterance(start, end, emotion, sure) {
    this.utterances.push({ start, end, emotion, sure });
  }

  /** @param {number} start @param {number} end @param {string} [code] */
  addLost(start, end, code) {
    const last = this.lost.at(-1);
    if (last && last.code === code && Math.abs(start - last.end) < BIN_MS)
      last.end = end; // one stretch, one mark
    else this.lost.push({ start, end, code });
  }

  #forget() {
    const before = this.now - KEPT_MS;
    const recent = (/** @type {{end?: number}} */ { end }) => end === undefined || end >= before;
    this.speech = this.speech.filter(recent);
    this.utterances = this.utterances.filter(recent);
    this.lost = this.lost.filter(recent);
    this.#arrivals = this.#arrivals.filter(recent);
    for (const number of this.#bins.keys()) if ((number + 1) * BIN_MS < before) this.#bins.delete(number);
  }

  /** [times in s, then for each label the share of itself and all labels after it]: a stack from the bottom
      up, with the first label on top. null where nothing was scored: a gap.
   *  @returns {[number[], ...(number | null)[][]]} */
  stacked() {
    const first = Math.floor((this.now - SHOWN_MS) / BIN_MS) - 1;
    const last = Math.floor(this.now / BIN_MS);
    const times = [];
    /** @type {(number | null)[][]} */
    const columns = LABELS.map(() => []);
    for (let number = first; number <= last; number++) {
      const bin = this.#bins.get(number);
      times.push(((number + 0.5) * BIN_MS) / 1000);
      let total = 0;
      for (let label = LABELS.length - 1; label >= 0; label--) {
        if (bin) total += bin[label];
        columns[label].push(bin ? total : null);
      }
    }
    return [times, ...columns];
  }

  /** The scores nearest to `ms`, or undefined in a gap.
   *  @param {number} ms */
  scoresAt(ms) {
    return this.#bins.get(Math.floor(ms / BIN_MS));
  }
}
