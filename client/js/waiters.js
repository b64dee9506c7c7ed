/* Those who wait for something to become true; looked at whenever something has changed. */

/** @import { EmotionError } from "./errors.js" */

const FOREVER_S = 1e6; // beyond what a timer can hold

export class Waiters {
  /** @type {Set<() => void>} */
  #looks = new Set();
  #over;
  #late;

  /** @param {() => EmotionError | undefined} over why nobody need wait any more, if so
   *  @param {(timeoutS: number) => EmotionError} late why somebody has waited in vain */
  constructor(over, late) {
    this.#over = over;
    this.#late = late;
  }

  get some() {
    return this.#looks.size > 0;
  }

  wake() {
    for (const look of [...this.#looks]) look();
  }

  /** Resolves with what `holds()` gives once that is truthy.
   *  @template T
   *  @param {() => T} holds
   *  @param {number} timeoutS
   *  @returns {Promise<NonNullable<T>>} */
  until(holds, timeoutS) {
    return new Promise((resolve, reject) => {
      /** @type {number | undefined} */
      let timer;
      const look = () => {
        const over = this.#over();
        const held = !over && holds();
        if (!over && !held) return;
        this.#looks.delete(look);
        clearTimeout(timer);
        if (over) reject(over);
        else resolve(/** @type {NonNullable<T>} */ (held));
      };
      const giveUp = () => {
        this.#looks.delete(look);
        reject(this.#late(timeoutS));
      };
      if (timeoutS < FOREVER_S) timer = setTimeout(giveUp, 1000 * timeoutS);
      this.#looks.add(look);
      look();
    });
  }
}
