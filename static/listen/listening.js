/* The chart of one recording: lines of the nine scores, the waveform under them, and the sound that goes with
   both. Whoever shows it has the elements that are named here. */

import { EMOTIONS, LABELS, asRow } from "../shared/emotions.js";
import { $, bothNames, make } from "../shared/parts.js";
import { percent, say, sayLabel } from "../shared/text.js";
import { save } from "../shared/saving.js";
import { Lines } from "./lines.js";
import { decodedPeaks, streamedPeaks } from "./peaks.js";
import { pictureOf } from "./picture.js";
import { Player } from "./player.js";
import { Stage } from "./stage.js";
import { clockOf } from "./time.js";
import { Wave } from "./wave.js";

/** @import { FrameStore } from "./store.js" */
/** @import { Frames } from "./frames.js" */
/** @import { Utterance } from "./utterances.js" */
/** @import { Recording } from "./store.js" */
/** `get(path)`: a file of a result.
 *  @typedef {{get: (path: string) => Promise<Response>, store: FrameStore,
 *             onTime: (seconds: number, playing: boolean) => void,
 *             onProblem: (problem: unknown) => void}} Hooks */

export class Listening {
  #hooks;
  #lines = new Lines($("plot"));
  #wave = new Wave($("wave", HTMLCanvasElement));
  #player;
  #stage = new Stage({
    onDraw: (from, to) => this.#draw(from, to),
    onSeek: (seconds) => this.#player.seek(seconds),
    onToggle: () => this.#toggle(),
    onHover: (seconds) => this.#hover(seconds),
  });
  #values = this.#legend();
  /** @type {Recording | null} */
  #item = null;
  /** @type {Frames | null} */
  #frames = null;
  #shown = false; // whether what was found in it is shown
  /** @type {"none" | "decoding" | "decoded" | "streaming"} how far the outline is */
  #outlined = "none";

  /** @param {Hooks} hooks */
  constructor(hooks) {
    this.#hooks = hooks;
    this.#player = new Player({
      onTime: (seconds) => this.#moved(seconds),
      onState: (playing) => this.#showPlaying(playing),
      onLength: (seconds) => this.#lengthIs(seconds),
      onProblem: hooks.onProblem,
    });
    $("play").onclick = () => this.#toggle();
    $("save-picture").onclick = () => this.#savePicture();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.#lines.build();
      this.#stage.draw();
    });
  }

  #legend() {
    return EMOTIONS.map(({ label }) => {
      const value = make("span", { class: "value" });
      const button = make("button", { type: "button", "aria-pressed": true }, bothNames(label), value);
      button.onclick = () => {
        this.#lines.toggle(label);
        button.setAttribute("aria-pressed", String(this.#lines.shown.has(label)));
      };
      $("legend").append(make("li", { "data-emotion": label }, button));
      return value;
    });
  }

  // -- which file ----------------------------------------------------------------------------------

  /** @param {Recording} item */
  open(item) {
    this.#item = item;
    this.#outlined = "none";
    this.#shown = false;
    this.#frames = null;
    this.#lines.show(null);
    Object.assign(this.#wave, { peaks: item.peaks ?? null, utterances: [], alerts: [], scoredS: 0 });
    $("chart").hidden = true;
    $("legend").hidden = true;
    this.#player.load(item.file, undefined);
    this.#stage.show(1);
    this.#moved(0);
    if (item.result) this.finished();
  }

  /** Nothing is listened to any more. */
  close() {
    this.#item = null;
    this.#player.load();
  }

  /** The item begins anew, after it was told what was found in it. */
  reopen() {
    if (this.#item && this.#shown) this.open(this.#item);
  }

  /** @param {number} seconds */
  #lengthIs(seconds) {
    if (!Number.isFinite(seconds) || !this.#item || this.#item.result) return; // what the server measured is exact
    $("chart").hidden = false;
    this.#showLength(seconds);
    this.#outline(this.#item, seconds);
  }

  /** @param {number} seconds */
  #showLength(seconds) {
    this.#stage.lengthen(seconds);
    $("long").textContent = clockOf(seconds);
  }

  progressed() {
    this.#wave.scoredS = this.#item?.doneS ?? 0;
    this.#stage.draw();
  }

  async finished() {
    const item = this.#item;
    const result = item?.result;
    if (!item || !result) return;
    this.#shown = true;
    $("chart").hidden = false;
    say($("chart-title"), result.granularity === "frame" ? "chart.time" : "chart.wave");
    Object.assign(this.#wave, {
      utterances: result.utterances ?? [],
      alerts: (result.alerts ?? []).filter(({ state }) => state !== "cleared"),
      scoredS: Infinity,
    });
    this.#showLength(result.duration_s);
    const { audio } = result.files;
    $("play", HTMLButtonElement).disabled = !audio;
    if (audio) this.#player.offer(async () => (await this.#hooks.get(audio)).blob());
    this.#outline(item, result.duration_s);
    try {
      const fetched = async () => (await this.#hooks.get(result.files.result)).json();
      const frames = await this.#hooks.store.of(item, fetched);
      if (this.#item !== item) return;
      this.#frames = frames;
      $("legend").hidden = !frames;
      this.#lines.show(frames);
    } catch (problem) {
      if (this.#item === item) this.#hooks.onProblem(problem);
    }
    this.#moved(this.#stage.at);
    this.#stage.draw();
  }

  /** The outline: from the file itself, and where that cannot be, from what the server kept of it.
   *  @param {Recording} item @param {number} seconds */
  async #outline(item, seconds) {
    if (!item.peaks && this.#outlined === "none") {
      this.#outlined = "decoding";
      item.peaks = item.file ? await decodedPeaks(item.file, seconds) : null;
      if (this.#item !== item) return;
      this.#outlined = "decoded";
    }
    const source = item.result?.files.audio;
    if (!item.peaks && this.#outlined === "decoded" && source) {
      this.#outlined = "streaming";
      try {
        item.peaks = await streamedPeaks(await this.#hooks.get(source));
      } catch (problem) {
        if (this.#item === item) this.#hooks.onProblem(problem);
      }
      if (this.#item !== item) return;
    }
    this.#wave.peaks = item.peaks ?? null;
    this.#stage.draw();
  }

  // -- what is seen and heard ----------------------------------------------------------------------

  /** @param {number} from @param {number} to */
  #draw(from, to) {
    if ($("chart").hidden) return;
    this.#lines.draw(from, to);
    this.#wave.draw(from, to);
    this.#note();
  }

  /** @param {number | null} [seconds] under the pointer */
  #note(seconds = null) {
    if (seconds !== null) return say($("chart-note"), "chart.at", { time: clockOf(seconds, 2) });
    const ms = this.#frames ? Math.round(1000 * this.#lines.bin(this.#stage.from, this.#stage.to)) : 0;
    if (!this.#frames) say($("chart-note"), "chart.how");
    else
      say($("chart-note"), ms > 10 ? "chart.mean" : "chart.frames", {
        each: ms < 1000 ? `${ms} ms` : `${ms / 1000} s`,
      });
  }

  /** @param {number | null} seconds */
  #hover(seconds) {
    this.#note(seconds);
    this.#showScores(seconds ?? this.#stage.at);
  }

  /** @param {number} seconds */
  #showScores(seconds) {
    const scores = this.#frames?.at(seconds);
    LABELS.forEach((_, i) => (this.#values[i].textContent = scores ? percent(scores[i]) : "–"));
  }

  /** @param {number} seconds */
  #moved(seconds) {
    this.#stage.setCursor(seconds, this.#player.playing);
    $("at").textContent = clockOf(seconds, 1);
    this.#showScores(seconds);
    this.#hooks.onTime(seconds, this.#player.playing);
  }

  #toggle() {
    const { at, from, to } = this.#stage;
    if (this.#player.playing) return this.#player.pause();
    if (at < from || at > to) this.#player.seek(from); // what is looked at is what is wanted
    this.#player.play();
  }

  /** @param {Pick<Utterance, "start_ms" | "end_ms">} span */
  playSpan({ start_ms: start, end_ms: end }) {
    if ($("play", HTMLButtonElement).disabled) return this.#stage.setCursor(start / 1000, true);
    if (start / 1000 < this.#stage.from || end / 1000 > this.#stage.to)
      this.#stage.move((start + end) / 2000 - (this.#stage.from + this.#stage.to) / 2);
    this.#player.playSpan(start / 1000, end / 1000);
  }

  async #savePicture() {
    const item = this.#item;
    if (!item?.result) return;
    const [plot, wave] = [$("plot").querySelector("canvas"), $("wave", HTMLCanvasElement)];
    const drawn = plot && this.#frames ? [plot, wave] : [wave];
    save(await pictureOf(item.name, asRow(item.result.scores), drawn), `${item.name}.png`);
  }

  /** @param {boolean} playing */
  #showPlaying(playing) {
    $("play").dataset.playing = String(playing);
    sayLabel($("play"), playing ? "pause" : "play");
  }
}
