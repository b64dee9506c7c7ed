/* Scores of single frames, of as many files as memory is meant for: the oldest go first, and come back from the
   server's result.json when their file is opened again. No page in here. */

import { Frames } from "./frames.js";

/** @import { Answer } from "./frames.js" */
/** @import { Peaks } from "./peaks.js" */
/** @import { Utterance } from "./utterances.js" */
/** What was found in a recording. `files`: where the rest of it is; `audio` is empty where none was kept.
 *  @typedef {Answer & {granularity: "utterance" | "frame", duration_s: number, scores: Record<string, number>,
 *             utterances?: Utterance[], alerts?: {at_ms: number, level: string, state?: string}[],
 *             files: {audio: string, result: string},
 *             frame_emotions?: string[], frame_confidences?: number[]}} Found */
/** What can be listened to. `doneS`: how far it is scored.
 *  @typedef {{name: string, file?: File, doneS: number, result: Found | null, peaks?: Peaks | null}} Recording */

const KEPT = 4_000_000; // frames: 290 MB, eleven hours of speech

export class FrameStore {
  /** @type {Map<Recording, Frames>} the oldest first */
  #kept = new Map();

  /** Takes the rows out of an answer, which then can be forgotten.
   *  @param {Recording} item */
  take(item) {
    const { result } = item;
    if (!result?.frame_scores) return;
    this.#keep(item, new Frames(result));
    delete result.frame_scores;
    delete result.frame_emotions;
    delete result.frame_confidences;
    delete result.frame_start_ms;
  }

  /** @param {Recording} item @param {Frames} frames */
  #keep(item, frames) {
    this.#kept.delete(item);
    this.#kept.set(item, frames);
    let total = [...this.#kept.values()].reduce((sum, { count }) => sum + count, 0);
    for (const [oldest, { count }] of this.#kept) {
      if (total <= KEPT || oldest === item) break;
      this.#kept.delete(oldest);
      total -= count;
    }
  }

  /** The frames of a finished file; `fetched()` gives its result.json. null at granularity utterance.
   *  @param {Recording} item @param {() => Promise<Answer>} fetched */
  async of(item, fetched) {
    if (item.result?.granularity !== "frame") return null;
    if (!this.#kept.has(item)) this.#keep(item, new Frames(await fetched()));
    return this.#kept.get(item) ?? null;
  }

  /** @param {Recording} item */
  forget(item) {
    this.#kept.delete(item);
  }
}
