/* The figures of one run, from start to stop: what the page has counted, and what the server's summaries say.
   A run has more than one summary if a session could not be resumed. No page in here. */

const STEADINESS = 0.15; // weight of a new delay: a figure that jumps ten times a second cannot be read

export class Totals {
  constructor() {
    this.speechMs = 0;
    this.lostMs = 0;
    this.droppedMs = 0; // by us: captured while the outbox was full
    this.utterances = 0;
    this.audioMs = 0; // as the server received it
    this.frames = {}; // label → frames that were likeliest that
    this.delayMs = undefined; // from the sound to the screen
    this.serverMs = undefined; // the server's part of it
  }

  addUtterance(ms) {
    this.utterances++;
    this.speechMs += ms;
  }

  addDelay(whole, server) {
    if (whole !== undefined) this.delayMs = steady(this.delayMs, whole);
    this.serverMs = steady(this.serverMs, server);
  }

  addSummary({ audio_ms: audioMs, frames, share }) {
    this.audioMs += audioMs;
    for (const [label, part] of Object.entries(share))
      this.frames[label] = (this.frames[label] ?? 0) + part * frames;
  }

  /** {label: fraction of the scored frames}. */
  get share() {
    const all = Object.values(this.frames).reduce((sum, frames) => sum + frames, 0) || 1;
    return Object.fromEntries(Object.entries(this.frames).map(([label, frames]) => [label, frames / all]));
  }
}

function steady(old, now) {
  return old === undefined ? now : old + STEADINESS * (now - old);
}
