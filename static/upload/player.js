/* Plays a recording: the file that was chosen where the browser can decode it, else what the server kept of it.
   Positions are seconds. No page in here. */

export class Player {
  /** `fallback()`: gives the server's copy as a blob. `onTime(seconds)` comes for each frame of the screen while it
      plays and after each jump; `onState(playing)`; `onLength(seconds)` when the file's length is known. */
  constructor({ onTime, onState, onLength, onProblem }) {
    Object.assign(this, { onTime, onState, onLength, onProblem });
    this.audio = new Audio();
    this.audio.preload = "metadata";
    this.until = Infinity;
    this.audio.onplay = () => this.started();
    this.audio.onpause = this.audio.onended = () => this.onState(false);
    this.audio.onseeked = () => this.onTime(this.audio.currentTime);
    this.audio.onloadedmetadata = () => this.onLength(this.audio.duration);
    this.audio.onerror = () => this.broke();
  }

  /** Nothing is playing after this. `fallback` may be undefined as long as the server has no copy. */
  load(file, fallback) {
    this.fallback = fallback;
    this.copied = this.broken = false;
    this.until = Infinity;
    this.source(file);
  }

  source(blob) {
    const url = blob && URL.createObjectURL(blob);
    this.audio.pause();
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = url;
    if (url) this.audio.src = url;
    else this.audio.removeAttribute("src");
  }

  /** The server has a copy now: needed only if the file itself could not be played. */
  offer(fallback) {
    this.fallback = fallback;
    if (this.broken && !this.copied) return this.broke();
  }

  async broke() {
    if (!this.audio.hasAttribute("src")) return;
    this.broken = true;
    if (!this.fallback || this.copied) return;
    this.copied = true;
    const { fallback } = this;
    try {
      const blob = await fallback();
      if (this.fallback !== fallback) return; // another recording meanwhile
      this.source(blob);
      this.broken = false;
    } catch (problem) {
      this.onProblem(problem);
    }
  }

  get playing() {
    return !this.audio.paused;
  }

  async play(until = Infinity) {
    this.until = until;
    try {
      await this.audio.play();
    } catch (problem) {
      if (problem.name !== "AbortError") this.onProblem({ code: "UNPLAYABLE", message: "" });
    }
  }

  pause() {
    this.until = Infinity;
    this.audio.pause();
  }

  seek(seconds) {
    this.until = Infinity;
    this.audio.currentTime = seconds;
    this.onTime(seconds);
  }

  playSpan(from, to) {
    this.seek(from);
    return this.play(to);
  }

  started() {
    this.onState(true);
    const tick = () => {
      if (this.audio.paused) return;
      this.onTime(Math.min(this.audio.currentTime, this.until));
      if (this.audio.currentTime >= this.until) this.pause();
      else requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }
}
