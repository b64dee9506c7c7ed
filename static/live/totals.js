/* The figures of one run, from start to stop: what the page has counted, and what the server's summaries say.
   A run has more than one summary if a session could not be resumed. No page in here. */

const STEADINESS = 0.15; // weight of a new delay: a figure that jumps ten times a second cannot be read

export class Totals {
  speechMs = 0;
  lostMs = 0;
  droppedMs = 0; // by us: captured while the outbox was full
  utterances = 0;
  audioMs = 0; // as the server received it
  /** @type {number | undefined} from the sound to the screen */
  delayMs;
  /** @type {number | undefined} the server's part of it */
  serverMs;
  /** @type {Record<string, number>} label → frames that were likeliest that */
  #frames = {};

  /** @param {number} ms */
  addUtterance(ms) {
    this.utterances++;
    this.speechMs += ms;
  }

  /** @param {number | undefined} delayMs @param {number} serverMs */
  addDelay(delayMs, serverMs) {
    if (delayMs !== undefined) this.delayMs = steady(this.delayMs, delayMs);
    this.serverMs = steady(this.serverMs, serverMs);
  }

  /** @param {{audio_ms: number, frames: number, share: Record<string, number>}} summary */
  addSummary({ audio_ms: audioMs, frames, share }) {
    this.audioMs += audioMs;
    for (const [label, part] of Object.entries(share)) {
      this.#frames[label] = (this.#frames[label] ?? 0) + part * frames;
    }
  }

  /** {label: fraction of the scored frames}. */
  get share() {
    const all = Object.values(this.#frames).reduce((sum, frames) => sum + frames, 0) || 1;
    return Object.fromEntries(Object.entries(this.#frames).map(([label, frames]) => [label, frames / all]));
  }
}

/** @param {number | undefined} old @param {number} now */
function steady(old, now) {
  return old === undefined ? now : old + STEADINESS * (now - old);
}
