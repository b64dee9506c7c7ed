/* The chart of one file: lines of the nine scores, the waveform under them, and the sound that goes with both. */

import { EMOTIONS, LABELS } from "../shared/emotions.js";
import { $, bothNames, make } from "../shared/parts.js";
import { percent, say, t } from "../shared/text.js";
import { Lines } from "./lines.js";
import { decodedPeaks, streamedPeaks } from "./peaks.js";
import { Player } from "./player.js";
import { Stage } from "./stage.js";
import { clockOf } from "./time.js";
import { Wave } from "./wave.js";

export class Listening {
  /** `get(path)`: a file of a result; `store`: the FrameStore; `onTime(seconds, playing)`; `onProblem(problem)`. */
  constructor({ get, store, onTime, onProblem }) {
    Object.assign(this, { get, store, onTime, onProblem });
    this.lines = new Lines($("plot"));
    this.wave = new Wave($("wave"));
    this.player = new Player({
      onTime: (seconds) => this.moved(seconds),
      onState: (playing) => this.showPlaying(playing),
      onLength: (seconds) => this.lengthIs(seconds),
      onProblem,
    });
    this.stage = new Stage({
      onDraw: (from, to) => this.draw(from, to),
      onSeek: (seconds) => this.player.seek(seconds),
      onToggle: () => this.toggle(),
      onHover: (seconds) => this.hover(seconds),
    });
    $("play").onclick = () => this.toggle();
    this.values = this.legend();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.lines.build();
      this.stage.draw();
    });
  }

  legend() {
    return EMOTIONS.map(({ label }) => {
      const value = make("span", { class: "value" });
      const button = make("button", { type: "button", "aria-pressed": true }, bothNames(label), value);
      button.onclick = () => {
        this.lines.toggle(label);
        button.setAttribute("aria-pressed", this.lines.shown.has(label));
      };
      $("legend").append(make("li", { "data-emotion": label }, button));
      return value;
    });
  }

  // -- which file ----------------------------------------------------------------------------------

  open(item) {
    this.item = item;
    this.decoding = this.decoded = this.asked = this.told = false;
    this.frames = null;
    this.lines.show(null);
    Object.assign(this.wave, { peaks: item.peaks, utterances: [], scoredS: 0 });
    $("chart").hidden = true;
    $("legend").hidden = true;
    this.player.load(item.file, undefined);
    this.stage.show(1);
    this.moved(0);
    if (item.result) this.finished();
  }

  lengthIs(seconds) {
    if (!Number.isFinite(seconds) || this.item.result) return; // what the server measured is exact
    $("chart").hidden = false;
    this.showLength(seconds);
    this.outline(seconds);
  }

  showLength(seconds) {
    this.stage.lengthen(seconds);
    $("long").textContent = clockOf(seconds);
  }

  progressed() {
    this.wave.scoredS = this.item.doneS;
    this.stage.draw();
  }

  async finished() {
    const { item } = this;
    const { result } = item;
    this.told = true;
    $("chart").hidden = false;
    say($("chart-title"), result.granularity === "frame" ? "chart.time" : "chart.wave");
    Object.assign(this.wave, { utterances: result.utterances ?? [], scoredS: Infinity });
    this.showLength(result.duration_s);
    this.player.offer(async () => (await this.get(result.files.audio)).blob());
    this.outline(result.duration_s);
    try {
      const frames = await this.store.of(item, async () => (await this.get(result.files.result)).json());
      if (this.item !== item) return;
      this.frames = frames;
      $("legend").hidden = !frames;
      this.lines.show(frames);
    } catch (problem) {
      if (this.item === item) this.onProblem(problem);
    }
    this.moved(this.stage.at);
    this.stage.draw();
  }

  /** The outline: from the file itself, and where that cannot be, from what the server kept of it. */
  async outline(seconds) {
    const { item } = this;
    if (!item.peaks && !this.decoding) {
      this.decoding = true;
      item.peaks = await decodedPeaks(item.file, seconds);
      if (this.item !== item) return;
      this.decoded = true;
    }
    if (!item.peaks && this.decoded && item.result && !this.asked) {
      this.asked = true;
      try {
        item.peaks = await streamedPeaks(await this.get(item.result.files.audio));
      } catch (problem) {
        if (this.item === item) this.onProblem(problem);
      }
      if (this.item !== item) return;
    }
    this.wave.peaks = item.peaks;
    this.stage.draw();
  }

  // -- what is seen and heard ----------------------------------------------------------------------

  draw(from, to) {
    if ($("chart").hidden) return;
    this.lines.draw(from, to);
    this.wave.draw(from, to);
    this.note();
  }

  note(seconds = null) {
    if (seconds !== null) return say($("chart-note"), "chart.at", { time: clockOf(seconds, 2) });
    const ms = this.frames ? Math.round(1000 * this.lines.bin(this.stage.from, this.stage.to)) : 0;
    if (!this.frames) say($("chart-note"), "chart.how");
    else
      say($("chart-note"), ms > 10 ? "chart.mean" : "chart.frames", {
        each: ms < 1000 ? `${ms} ms` : `${ms / 1000} s`,
      });
  }

  hover(seconds) {
    this.note(seconds);
    this.showScores(seconds ?? this.stage.at);
  }

  showScores(seconds) {
    const scores = this.frames?.at(seconds);
    LABELS.forEach((_, i) => (this.values[i].textContent = scores ? percent(scores[i]) : "–"));
  }

  moved(seconds) {
    this.stage.setCursor(seconds, this.player.playing);
    $("at").textContent = clockOf(seconds, 1);
    this.showScores(seconds);
    this.onTime(seconds, this.player.playing);
  }

  toggle() {
    const { at, from, to } = this.stage;
    if (this.player.playing) return this.player.pause();
    if (at < from || at > to) this.player.seek(from); // what is looked at is what is wanted
    this.player.play();
  }

  playSpan({ start_ms: start, end_ms: end }) {
    if (start / 1000 < this.stage.from || end / 1000 > this.stage.to)
      this.stage.move((start + end) / 2000 - (this.stage.from + this.stage.to) / 2);
    this.player.playSpan(start / 1000, end / 1000);
  }

  showPlaying(playing) {
    $("play").dataset.playing = playing;
    $("play").dataset.tLabel = playing ? "pause" : "play";
    $("play").setAttribute("aria-label", t($("play").dataset.tLabel));
  }
}
