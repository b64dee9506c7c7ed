/* How old what is shown is: an answer is of now only for so long. All in ms. No page in here. */

const OLD_MS = 2_000;

/** @typedef {{state: "now"} | {state: "waiting" | "behind", ms: number}} Staleness
 *    `waiting`: for so long nothing was answered; `behind`: answers come, and are of so long ago */

export class Age {
  #answeredAt = 0; // on the page's clock
  #speaking = false;
  #delayMs = 0;

  /** Listening begins, or somebody begins or ends to speak, as the server says it.
   *  @param {number} at @param {boolean} speaking */
  heard(at, speaking) {
    this.#answeredAt = at;
    this.#speaking = speaking;
  }

  /** An answer came, for sound that was at the microphone so long ago.
   *  @param {number} at @param {number} [delayMs] */
  answered(at, delayMs = 0) {
    this.#answeredAt = at;
    this.#delayMs = delayMs;
  }

  /** `away`: no server, or no model, would answer. Where nobody speaks, nothing is answered, and nothing is old.
   *  @param {number} at @param {boolean} away @returns {Staleness} */
  at(at, away) {
    const ms = at - this.#answeredAt;
    if ((away || this.#speaking) && ms > OLD_MS) return { state: "waiting", ms };
    return this.#delayMs > OLD_MS ? { state: "behind", ms: this.#delayMs } : { state: "now" };
  }
}
