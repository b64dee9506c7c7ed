/* Listeners by event, and the same events as an async iterator: `for await (const { event, payload } of stream)`. */

const MAX_WAITING = 1000; // events that a loop has not yet taken
const PASSING = new Set(["result", "frame"]); // what goes first when it falls behind; utterances stay

export class Emitter {
  #listeners = new Map();
  #loops = new Set();

  /** Call `listener(payload)` at each `event`; at "*" `listener({event, payload})` for each message of the server,
   *  under its name on the wire, those that this client does not know among them. */
  on(event, listener) {
    this.#listeners.set(event, [...(this.#listeners.get(event) ?? []), listener]);
    return this;
  }

  off(event, listener) {
    this.#listeners.set(
      event,
      (this.#listeners.get(event) ?? []).filter((known) => known !== listener),
    );
    return this;
  }

  tell(event, payload) {
    for (const listener of this.#listeners.get(event) ?? []) listener(payload);
    if (event !== "*") for (const loop of this.#loops) loop.put({ event, payload });
  }

  /** Loops end here, once they have taken what waits for them. */
  endLoops() {
    for (const loop of this.#loops) loop.end();
    this.#loops.clear();
  }

  [Symbol.asyncIterator]() {
    const loop = new Loop(() => this.#loops.delete(loop));
    this.#loops.add(loop);
    return loop;
  }
}

/** One `for await`: what it has not taken waits, up to a bound. What goes then is named by `skipped {events}`. */
class Loop {
  #waiting = [];
  #skipped = 0;
  #over = false;
  #takers = [];

  constructor(leave) {
    this.leave = leave;
  }

  put(item) {
    this.#waiting.push(item);
    if (this.#waiting.length > MAX_WAITING) {
      const oldest = this.#waiting.findIndex(({ event }) => PASSING.has(event));
      this.#waiting.splice(Math.max(0, oldest), 1);
      this.#skipped++;
    }
    this.#serve();
  }

  end() {
    this.#over = true;
    this.#serve();
  }

  next() {
    return new Promise((resolve) => {
      this.#takers.push(resolve);
      this.#serve();
    });
  }

  return() {
    this.leave();
    this.#waiting = [];
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }

  #serve() {
    while (this.#takers.length && (this.#skipped || this.#waiting.length || this.#over)) {
      const value = this.#skipped ? this.#gap() : this.#waiting.shift();
      this.#takers.shift()({ done: value === undefined, value });
    }
  }

  #gap() {
    const value = { event: "skipped", payload: { events: this.#skipped } };
    this.#skipped = 0;
    return value;
  }
}
