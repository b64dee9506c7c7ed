/* Plays a recording: the file that was chosen where the browser can decode it, else what the server keeps of it.
   Positions are seconds. No page in here. */

import { EmotionError } from "../../client/emotion-stream.js";

/** @typedef {() => Promise<Blob>} Fallback gives the server's copy */
/** @typedef {{onTime: (seconds: number) => void, onState: (playing: boolean) => void,
 *             onLength: (seconds: number) => void, onProblem: (problem: unknown) => void}} Hooks */

export class Player {
  #hooks;
  #audio = new Audio();
  #until = Infinity;
  /** @type {Fallback | undefined} */
  #fallback;
  #copied = false; // whether the server's copy has been asked for
  #broken = false;
  /** @type {Promise<void> | undefined} */
  #coming; // the server's copy
  /** @type {string | undefined} */
  #url;

  /** `onTime(seconds)` comes for each frame of the screen while it plays and after each jump; `onState(playing)`;
   *  `onLength(seconds)` when the file's length is known.
   *  @param {Hooks} hooks */
  constructor(hooks) {
    this.#hooks = hooks;
    const audio = this.#audio;
    audio.preload = "metadata";
    audio.onplay = () => this.#onPlay();
    audio.onpause = audio.onended = () => hooks.onState(false);
    audio.onseeked = () => hooks.onTime(audio.currentTime);
    audio.onloadedmetadata = () => hooks.onLength(audio.duration);
    audio.onerror = () => {
      if (!audio.hasAttribute("src")) return;
      this.#broken = true;
      this.#ask();
    };
  }

  /** Nothing is playing after this. `fallback` may be undefined as long as the server has no copy; without `file`
   *  that is all there is.
   *  @param {Blob} [file] @param {Fallback} [fallback] */
  load(file, fallback) {
    this.#fallback = fallback;
    this.#copied = false;
    this.#broken = !file;
    this.#coming = undefined;
    this.#until = Infinity;
    this.#source(file);
  }

  /** @param {Blob} [blob] */
  #source(blob) {
    const url = blob && URL.createObjectURL(blob);
    this.#audio.pause();
    if (this.#url) URL.revokeObjectURL(this.#url);
    this.#url = url;
    if (url) this.#audio.src = url;
    else this.#audio.removeAttribute("src");
  }

  /** The server has a copy now: needed only if the file itself could not be played.
   *  @param {Fallback} fallback */
  offer(fallback) {
    this.#fallback = fallback;
    if (this.#broken) this.#ask();
  }

  #ask() {
    if (!this.#fallback || this.#copied) return;
    this.#copied = true;
    this.#coming = this.#copy(this.#fallback);
  }

  /** @param {Fallback} fallback */
  async #copy(fallback) {
    try {
      const blob = await fallback();
      if (this.#fallback !== fallback) return; // another recording meanwhile
      this.#source(blob);
      this.#broken = false;
    } catch (problem) {
      this.#hooks.onProblem(problem);
    }
  }

  get playing() {
    return !this.#audio.paused;
  }

  async play(until = Infinity) {
    this.#until = until;
    await this.#coming;
    try {
      await this.#audio.play();
    } catch (problem) {
      if (problem instanceof DOMException && problem.name === "AbortError") return;
      this.#hooks.onProblem(new EmotionError("UNPLAYABLE", ""));
    }
  }

  pause() {
    this.#until = Infinity;
    this.#audio.pause();
  }

  /** @param {number} seconds */
  seek(seconds) {
    this.#until = Infinity;
    this.#audio.currentTime = seconds;
    this.#hooks.onTime(seconds);
  }

  /** @param {number} from @param {number} to in seconds */
  playSpan(from, to) {
    this.seek(from);
    return this.play(to);
  }

  #onPlay() {
    this.#hooks.onState(true);
    const tick = () => {
      if (this.#audio.paused) return;
      this.#hooks.onTime(Math.min(this.#audio.currentTime, this.#until));
      if (this.#audio.currentTime >= this.#until) this.pause();
      else requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }
}
