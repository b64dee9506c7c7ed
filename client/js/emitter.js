/* Listeners by event, and the same events as an async iterator:
   `for await (const { event, payload } of stream)`. */

/** @typedef {(payload: any) => void} Listener */
/** @typedef {{event: string, payload: any}} Item */

const MAX_WAITING = 1000; // events that a loop has not yet taken
const DROPPABLE = new Set(["result", "frame"]); // what goes first when it falls behind; utterances stay

/** One `for await`: what it has not taken waits, up to a bound. What goes then is named by `skipped {events}`. */
class Loop {
  /** @type {Item[]} */
  #waiting = [];
  #skipped = 0;
  #ended = false;
  /** @type {((result: IteratorResult<any>) => void)[]} */
  #takers = [];
  #leave;

  /** @param {(loop: Loop) => void} leave is called when the loop breaks off */
  constructor(leave) {
    this.#leave = leave;
  }

  /** @param {Item} item */
  put(item) {
    this.#waiting.push(item);
    if (this.#waiting.length > MAX_WAITING) {
      const oldest = this.#waiting.findIndex(({ event }) => DROPPABLE.has(event));
      this.#waiting.splice(Math.max(0, oldest), 1);
      this.#skipped++;
    }
    this.#serve();
  }

  end() {
    this.#ended = true;
    this.#serve();
  }

  /** @returns {Promise<IteratorResult<any>>} */
  next() {
    return new Promise((resolve) => {
      this.#takers.push(resolve);
      this.#serve();
    });
  }

  /** @returns {Promise<IteratorResult<any>>} */
  return() {
    this.#leave(this);
    this.#waiting = [];
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }

  #serve() {
    while (this.#takers.length && (this.#skipped || this.#waiting.length || this.#ended)) {
      const value = this.#skipped ? this.#gap() : this.#waiting.shift();
      this.#takers.shift()?.({ done: value === undefined, value });
    }
  }

  #gap() {
    const value = { event: "skipped", payload: { events: this.#skipped } };
    this.#skipped = 0;
    return value;
  }
}

export class Emitter {
  /** @type {Map<string, Listener[]>} */
  #listeners = new Map();
  /** @type {Set<Loop>} */
  #loops = new Set();

  /** @param {string} event @param {Listener} listener */
  on(event, listener) {
    this.#listeners.set(event, [...(this.#listeners.get(event) ?? []), listener]);
  }

  /** @param {string} event @param {Listener} listener */
  off(event, listener) {
    const others = (this.#listeners.get(event) ?? []).filter((known) => known !== listener);
    this.#listeners.set(event, others);
  }

  /** @param {string} event @param {any} payload */
  emit(event, payload) {
    for (const listener of this.#listeners.get(event) ?? []) listener(payload);
    if (event !== "*") for (const loop of this.#loops) loop.put({ event, payload });
  }

  /** Loops end here, once they have taken what waits for them. */
  endLoops() {
    for (const loop of this.#loops) loop.end();
    this.#loops.clear();
  }

  /** A loop over all events from now on, but for "*". */
  loop() {
    const loop = new Loop((left) => this.#loops.delete(left));
    this.#loops.add(loop);
    return loop;
  }
}
