/* Scores of single frames, of as many files as memory is meant for: the oldest go first, and come back from the
   server's result.json when their file is opened again. No page in here. */

import { Frames } from "./frames.js";

/** @import { Answer } from "./frames.js" */
/** @import { Shown } from "./queue.js" */

const KEPT = 4_000_000; // frames: 290 MB, eleven hours of speech

export class FrameStore {
  /** @type {Map<Shown, Frames>} the oldest first */
  #kept = new Map();

  /** Takes the rows out of an answer, which then can be forgotten.
   *  @param {Shown} item */
  take(item) {
    const { result } = item;
    if (!result?.frame_scores) return;
    this.#keep(item, new Frames(result));
    delete result.frame_scores;
    delete result.frame_emotions;
    delete result.frame_confidences;
    delete result.frame_start_ms;
  }

  /** @param {Shown} item @param {Frames} frames */
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
   *  @param {Shown} item @param {() => Promise<Answer>} fetched */
  async of(item, fetched) {
    if (item.result?.granularity !== "frame") return null;
    if (!this.#kept.has(item)) this.#keep(item, new Frames(await fetched()));
    return this.#kept.get(item) ?? null;
  }

  /** @param {Shown} item */
  forget(item) {
    this.#kept.delete(item);
  }
}
