/* The files that were given and what becomes of each. At most two are with the server at once. A server that is
   busy is asked again after the time it named; one that is away, loading or wants a token pauses all, and nothing
   is lost of what waits. No page in here. */

import { EmotionError } from "../../client/emotion-stream.js";

/** @import { Recognition, Step, recognize } from "../../client/emotion-stream.js" */
/** @import { Peaks } from "../listen/peaks.js" */
/** @typedef {"waiting" | "uploading" | "working" | "held" | "done" | "failed" | "canceled"} State
 *           held: the server was busy */
/** @typedef {"state" | "progress"} Change */
/** @typedef {{granularity: "utterance" | "frame", embedding: boolean}} Settings */
/** @typedef {{code: string, message: string, status?: number}} Failure */
/** Times are of performance.now(), `until` of Date.now(): until when it is held.
 *  @typedef {{upload: number, doneS: number, totalS: number, steps: Step[], error: Failure | null,
 *             result: Recognition | null, state: State}} Progress
 *  @typedef {Progress & {name: string, file?: File, begunAt?: number, uploadedAt?: number, endedAt?: number,
 *             until?: number, peaks?: Peaks | null}} Shown a file, or what the server keeps of one
 *  @typedef {Shown & {id: number, file: File, settings: Settings, abort?: AbortController}} Item */
/** @typedef {{recognize: typeof recognize, token: () => string | undefined, answers: () => Promise<boolean>,
 *             onChange: (item: Item, what: Change) => void, onPause: (code: string | null) => void}} Hooks */

const AT_ONCE = 2;
const BUSY_S = 5; // when the server does not say how long
const PAUSES = new Set(["UNAUTHORIZED", "NOT_READY", "AWAY"]);
const HOLDS = new Set(["BUSY", "OVERLOADED", "RATE_LIMITED"]);
export const ROOM = 2000;

export class Queue {
  /** @type {Item[]} */
  items = [];
  maxBytes = Infinity; // what the server takes: a larger file need not travel to hear so
  #hooks;
  #active = 0;
  /** @type {string | null} */
  #paused = null;
  #notBefore = 0;
  #number = 0;
  /** @type {number | undefined} */
  #timer;

  /** `recognize(file, options)` of the client. `answers()`: whether the server answers at all. `onPause(code)`:
   *  why all waits, null when it goes on.
   *  @param {Hooks} hooks */
  constructor(hooks) {
    this.#hooks = hooks;
  }

  /** Why all waits, or null. */
  get paused() {
    return this.#paused;
  }

  /** Takes files as far as there is room; gives the new items.
   *  @param {File[]} files @param {Settings} settings */
  add(files, settings) {
    const items = files.slice(0, ROOM - this.items.length).map((file) => {
      const item = { id: ++this.#number, file, name: file.name, settings };
      return Object.assign(item, fresh());
    });
    this.items.push(...items);
    this.#pump();
    return items;
  }

  /** @param {Item} item @param {Settings} [settings] */
  again(item, settings = item.settings) {
    if (isOpen(item)) return;
    Object.assign(item, fresh(), { settings });
    this.#hooks.onChange(item, "state");
    this.#pump();
  }

  retryFailed() {
    const failed = this.items.filter(({ state }) => state === "failed" || state === "canceled");
    failed.forEach((item) => this.again(item));
  }

  /** @param {Item} item */
  cancel(item) {
    if (!isOpen(item)) return;
    item.abort?.abort();
    this.#become(item, "canceled");
  }

  cancelAll() {
    this.items.forEach((item) => this.cancel(item));
  }

  /** @param {Item} item */
  remove(item) {
    this.cancel(item);
    this.items = this.items.filter((other) => other !== item);
  }

  /** @param {string | null} code */
  #pause(code) {
    if (this.#paused === code) return;
    this.#paused = code;
    this.#hooks.onPause(code);
  }

  /** What the queue waited for has come: a token, a server, a model. */
  resume() {
    if (this.#paused) this.#pause(null);
    this.#pump();
  }

  /** @param {Item} item @param {State} state @param {Partial<Item>} [more] */
  #become(item, state, more = {}) {
    Object.assign(item, { state, ...more });
    this.#hooks.onChange(item, "state");
  }

  #pump() {
    clearTimeout(this.#timer);
    const wait = this.#notBefore - Date.now();
    if (wait > 0) {
      this.#timer = setTimeout(() => this.#pump(), wait);
      return;
    }
    while (!this.#paused && this.#active < AT_ONCE) {
      const next = this.items.find(({ state }) => state === "waiting" || state === "held");
      if (!next) return;
      this.#run(next);
    }
  }

  /** @param {Item} item */
  async #run(item) {
    const abort = new AbortController();
    const mine = () => item.abort === abort && !abort.signal.aborted; // not canceled, nor begun anew since
    this.#active++;
    Object.assign(item, fresh(), { abort });
    this.#become(item, "uploading", { begunAt: performance.now() });
    const { granularity, embedding } = item.settings;
    try {
      if (item.file.size > this.maxBytes) throw new EmotionError("FILE_TOO_LARGE", "", { status: 413 });
      const result = await this.#hooks.recognize(item.file, {
        token: this.#hooks.token(),
        granularity,
        embedding,
        signal: abort.signal,
        onUpload: (part) => mine() && this.#onUpload(item, part),
        onStep: (step) => mine() && this.#onStep(item, step),
        onProgress: ({ done_s, total_s }) => mine() && this.#onProgress(item, done_s, total_s),
      });
      const steps = result.steps ?? item.steps;
      if (mine()) this.#become(item, "done", { result, steps, endedAt: performance.now() });
    } catch (problem) {
      if (mine()) await this.#onFailure(item, problem, mine);
    } finally {
      this.#active--;
      this.#pump();
    }
  }

  /** @param {Item} item @param {number} part of it that has been sent */
  #onUpload(item, part) {
    item.upload = part;
    if (part < 1 || item.state !== "uploading") return this.#hooks.onChange(item, "progress");
    this.#become(item, "working", { uploadedAt: performance.now() });
  }

  /** @param {Item} item @param {Step} step */
  #onStep(item, step) {
    item.steps.push(step);
    if (item.state === "uploading") this.#onUpload(item, 1);
    else this.#hooks.onChange(item, "progress");
  }

  /** @param {Item} item @param {number} doneS @param {number | null} totalS */
  #onProgress(item, doneS, totalS) {
    Object.assign(item, { doneS, totalS: totalS ?? 0 });
    this.#hooks.onChange(item, "progress");
  }

  /** @param {Item} item @param {unknown} problem @param {() => boolean} mine */
  async #onFailure(item, problem, mine) {
    const known = problem instanceof EmotionError ? problem : new EmotionError("INTERNAL", String(problem));
    const code = known.code === "DISCONNECTED" ? await this.#whyBroken(item) : known.code;
    if (!mine()) return;
    if (HOLDS.has(code)) {
      this.#notBefore = Date.now() + 1000 * (known.retryAfter || BUSY_S);
      this.#become(item, "held", { until: this.#notBefore });
    } else if (PAUSES.has(code)) {
      this.#become(item, "waiting");
      this.#pause(code);
    } else {
      this.#become(item, "failed", { error: { code, message: known.message, status: known.status } });
    }
  }

  /** @param {Item} item whose upload has broken off */
  async #whyBroken(item) {
    if (await isUnreadable(item.file)) return "FILE_GONE";
    return (await this.#hooks.answers()) ? "BROKEN" : "AWAY";
  }
}

/** @returns {Progress} */
function fresh() {
  return { state: "waiting", upload: 0, doneS: 0, totalS: 0, steps: [], error: null, result: null };
}

/** Whether something is still to come of it.
 *  @param {Shown} item */
export function isOpen({ state }) {
  return state === "waiting" || state === "uploading" || state === "working" || state === "held";
}

/** A file that was moved or changed since it was chosen ends an upload as a broken network does.
 *  @param {File} file */
async function isUnreadable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
    return false;
  } catch {
    return true;
  }
}
