/* The files that were given and what becomes of each. At most two are with the server at once. A server that is
   busy is asked again after the time it named; one that is away, loading or wants a token pauses all, and nothing
   is lost of what waits. No page in here.

   An item's `state`: waiting · uploading · working · held (the server was busy) · done · failed · cancelled. */

const AT_ONCE = 2;
const BUSY_S = 5; // when the server does not say how long
const PAUSES = new Set(["UNAUTHORIZED", "NOT_READY", "AWAY"]);
const LATER = new Set(["BUSY", "OVERLOADED", "RATE_LIMITED"]);
export const ROOM = 2000;

export class Queue {
  /** `recognise(file, options)` of the client. `there()`: whether the server answers at all. `onChange(item, what)`:
      what is "state" or "progress". `onPause(code)`: why all waits, null when it goes on. */
  constructor({ recognise, token, there, onChange, onPause }) {
    Object.assign(this, { recognise, token, there, onChange, onPause });
    this.items = [];
    this.active = 0;
    this.paused = null;
    this.notBefore = 0;
    this.number = 0;
    this.mostBytes = Infinity; // what the server takes: a larger file need not travel to hear so
  }

  /** Takes files as far as there is room; gives the new items. */
  add(files, settings) {
    const items = [...files]
      .slice(0, ROOM - this.items.length)
      .map((file) => this.fresh({ id: ++this.number, file, name: file.name, settings }));
    this.items.push(...items);
    this.pump();
    return items;
  }

  fresh(item) {
    return Object.assign(item, {
      state: "waiting",
      upload: 0,
      doneS: 0,
      totalS: 0,
      steps: [],
      error: null,
      result: null,
    });
  }

  again(item, settings = item.settings) {
    if (isOpen(item)) return;
    this.fresh(item).settings = settings;
    this.onChange(item, "state");
    this.pump();
  }

  retryFailed() {
    this.items
      .filter(({ state }) => state === "failed" || state === "cancelled")
      .forEach((item) => this.again(item));
  }

  cancel(item) {
    if (!isOpen(item)) return;
    item.abort?.abort();
    this.turn(item, "cancelled");
  }

  cancelAll() {
    this.items.forEach((item) => this.cancel(item));
  }

  remove(item) {
    this.cancel(item);
    this.items = this.items.filter((other) => other !== item);
  }

  pause(code) {
    if (this.paused === code) return;
    this.paused = code;
    this.onPause(code);
  }

  /** What the queue waited for has come: a token, a server, a model. */
  resume() {
    if (this.paused) this.pause(null);
    this.pump();
  }

  turn(item, state, more = {}) {
    Object.assign(item, { state, ...more });
    this.onChange(item, "state");
  }

  pump() {
    clearTimeout(this.timer);
    const wait = this.notBefore - Date.now();
    if (wait > 0) return void (this.timer = setTimeout(() => this.pump(), wait));
    while (!this.paused && this.active < AT_ONCE) {
      const next = this.items.find(({ state }) => state === "waiting" || state === "held");
      if (!next) return;
      this.run(next);
    }
  }

  async run(item) {
    const abort = new AbortController();
    const mine = () => item.abort === abort && !abort.signal.aborted; // not cancelled, nor begun anew since
    this.active++;
    this.fresh(item).abort = abort;
    this.turn(item, "uploading", { begunAt: performance.now() });
    const { granularity, embedding } = item.settings;
    try {
      if (item.file.size > this.mostBytes) throw { code: "FILE_TOO_LARGE", status: 413 };
      const result = await this.recognise(item.file, {
        token: this.token(),
        granularity,
        embedding,
        signal: abort.signal,
        onUpload: (part) => mine() && this.uploaded(item, part),
        onStep: (step) => mine() && this.stepped(item, step),
        onProgress: ({ done_s, total_s }) => mine() && this.progressed(item, done_s, total_s),
      });
      if (mine())
        this.turn(item, "done", { result, steps: result.steps ?? item.steps, endedAt: performance.now() });
    } catch (problem) {
      if (mine()) await this.failed(item, problem, mine);
    } finally {
      this.active--;
      this.pump();
    }
  }

  uploaded(item, part) {
    item.upload = part;
    if (part < 1 || item.state !== "uploading") return this.onChange(item, "progress");
    this.turn(item, "working", { uploadedAt: performance.now() });
  }

  stepped(item, step) {
    item.steps.push(step);
    if (item.state === "uploading") this.uploaded(item, 1);
    else this.onChange(item, "progress");
  }

  progressed(item, doneS, totalS) {
    Object.assign(item, { doneS, totalS: totalS ?? 0 });
    this.onChange(item, "progress");
  }

  async failed(item, { code = "INTERNAL", message = "", status, retryAfter }, mine) {
    if (code === "DISCONNECTED")
      code = (await unreadable(item.file)) ? "FILE_GONE" : (await this.there()) ? "BROKEN" : "AWAY";
    if (!mine()) return;
    if (LATER.has(code)) {
      this.notBefore = Date.now() + 1000 * (retryAfter || BUSY_S);
      return this.turn(item, "held", { until: this.notBefore });
    }
    if (PAUSES.has(code)) {
      this.turn(item, "waiting");
      return this.pause(code);
    }
    this.turn(item, "failed", { error: { code, message, status } });
  }
}

/** Whether something is still to come of it. */
export function isOpen({ state }) {
  return state === "waiting" || state === "uploading" || state === "working" || state === "held";
}

/** A file that was moved or changed since it was chosen ends an upload as a broken network does. */
async function unreadable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
    return false;
  } catch {
    return true;
  }
}
