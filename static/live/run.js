/* What is going on: wires the microphone to the stream, and what comes back to the page. Session times become page
   times here: one run of the page, from start to stop, may need several sessions. */

import { EmotionStream, Microphone, MICROPHONE_RATE as RATE } from "../../client/emotion-stream.js";
import { asRow } from "../shared/emotions.js";
import { feelingOf } from "../shared/feeling.js";
import { currentLanguage, messageOf, percent, say } from "../shared/text.js";
import { askToken, keptToken } from "../shared/token.js";
import { io } from "../vendor/socket.io-client/socket.io.esm.min.js";
import { Age } from "./age.js";
import { Chart, clock } from "./chart.js";
import { Level } from "./level.js";
import { RunRecord } from "./record.js";
import { Result } from "./result.js";
import { Source } from "./source.js";
import { Steady } from "./steady.js";
import { Timeline } from "./timeline.js";
import { Totals } from "./totals.js";
import { addAlert, addUtterance, clearUtterances, hideSummary, showSummary } from "./utterances.js";
import * as view from "./view.js";
import { Whole } from "./whole.js";

/** @import * as client from "../../client/emotion-stream.js" */

const STOP_S = 8; // how long the summary may take
const SILENT_CHUNKS = 30; // 3 s of exact zeros: a muted device, not a quiet room

export class Run {
  /** @type {view.RunState} */
  #state = "off";
  /** @type {client.ConnectionState} */
  #link = "connecting";
  #ready = true; // what the server said of its model
  #timeline = new Timeline(); // of this run
  #totals = new Totals(); // likewise
  #record = new RunRecord(); // likewise
  #whole = new Whole(); // likewise
  #result = new Result(); // of the latest
  #originMs = 0; // where on the timeline the present session begins
  #alerting = new Set(/** @type {string[]} */ ([])); // notices of alerts
  #baseMs = 0; // where on the timeline the session was asked for
  #silentChunks = 0; // nothing but zeros, in a row
  #speaking = false;
  #level = new Level();
  #source = new Source(() => this.#stop()); // a recording is over
  #steady = new Steady();
  #age = new Age();
  #legend = view.buildLegend(view.$("minute-legend"));
  #chart = new Chart(view.$("minute-plot"), (ms) => this.#showPoint(ms));
  // Audio waits in the page for as long as it takes: the person in front of it sees that, and can press stop.
  #stream = new EmotionStream({ io, token: keptToken(), connectTimeoutS: Infinity, keepConnection: true });
  /** @type {Microphone | undefined} */
  #microphone;
  /** @type {client.Summary | null} */
  #summary = null; // of the latest session

  constructor() {
    this.#listen();
    view.$("toggle").onclick = () => this.#press();
    view.$("pause").onclick = () => (this.#state === "on" ? this.#pause() : this.#resume());
    addEventListener("beforeunload", (event) => {
      if (this.#state === "on" || this.#state === "paused") event.preventDefault();
    });
    addEventListener("online", () => this.#link === "offline" && this.#stream.hurry());
    view.showButton("off");
  }

  get token() {
    return /** @type {string | undefined} */ (this.#stream.token); // as it was typed in here
  }

  /** `onOnline()`: the server is there, again.
   *  @param {{onOnline: () => void}} hooks */
  connect({ onOnline }) {
    this.#stream.on("state", ({ state }) => state === "online" && onOnline());
    this.#stream.connect();
  }

  /** Whether the server's model is ready.
   *  @param {boolean} ready */
  setReady(ready) {
    this.#ready = ready;
    this.#showConnection();
  }

  // -- start and stop ------------------------------------------------------------------------------

  #press() {
    if (this.#state === "off") this.#start();
    else if (this.#state === "on" || this.#state === "paused") this.#stop();
    else if (this.#state === "starting") this.#microphone?.close(); // whoever asked for it is told MIC_CANCELED
  }

  /** Whether there is sound to hear now; what stands in the way is told.
   *  @param {"off" | "paused"} otherwise the state then */
  async #openSource(otherwise) {
    this.#become("starting");
    view.clearNotices();
    view.showMode("asking", this.#source.kind);
    const onGone = () => this.#onSourceGone();
    this.#microphone = new Microphone((chunk) => this.#onChunk(chunk), { onGone, ...this.#source.options });
    try {
      await this.#microphone.open();
    } catch (problem) {
      const error = /** @type {client.EmotionError} */ (problem);
      if (otherwise === "off") this.#source.end();
      if (error.code !== "MIC_CANCELED") view.notifyError(error);
      view.showMode(otherwise === "off" ? "idle" : "paused");
      this.#become(otherwise);
      return false;
    }
    this.#source.list(); // names are known now
    return true;
  }

  async #start() {
    if (this.#link === "unauthorized") return this.#askToken();
    if (!(await this.#openSource("off"))) return;
    this.#timeline = new Timeline();
    this.#totals = new Totals();
    this.#record = new RunRecord();
    this.#whole = new Whole();
    this.#originMs = 0;
    this.#result.hide();
    clearUtterances();
    hideSummary();
    view.$("minute-plot").dataset.empty = "false";
    view.showScores(null);
    view.showAffect(null);
    view.showTotals(this.#totals);
    this.#chart.show(this.#timeline);
    this.#begin();
  }

  /** A session, for what is heard from now on. */
  #begin() {
    this.#baseMs = this.#timeline.now;
    this.#silentChunks = 0;
    this.#speaking = false;
    this.#age = new Age();
    this.#age.heard(performance.now(), false);
    view.showMode("listening");
    view.showSpeech("no");
    this.#become("on");
    this.#stream
      .open({ sampleRate: RATE, language: currentLanguage() })
      .catch((problem) => this.#onError(problem, true));
    requestAnimationFrame((at) => this.#draw(at));
  }

  /** The session ends with its sound; a pause may be long, and the server keeps no idle session. */
  async #end() {
    this.#become("stopping");
    await this.#microphone?.close();
    this.#source.pause();
    const connectTimeoutS = this.#link === "online" ? STOP_S : 0;
    this.#summary = await this.#stream.stop({ connectTimeoutS }).catch(() => null);
    this.#timeline.endSpeech(this.#timeline.now);
    view.clearNotice("silent");
    view.showSpeech("off");
    view.showAge({ state: "now" });
  }

  async #pause() {
    await this.#end();
    this.#become("paused");
    view.showMode("paused");
  }

  async #resume() {
    if (await this.#openSource("paused")) this.#begin();
  }

  async #stop() {
    if (this.#state === "on") await this.#end();
    else if (this.#state !== "paused") return;
    this.#source.end();
    const summary = this.#summary;
    if (summary || this.#link !== "online") showSummary(summary && this.#totals);
    this.#become("off");
    for (const key of this.#alerting) view.clearNotice(key); // they stay on the list
    this.#alerting.clear();
    if (summary && this.#totals.speechMs > 0) {
      view.showResult(asRow(this.#totals.share), clock(this.#totals.audioMs / 1000));
      this.#showResult();
    } else {
      view.showMode("idle");
      view.showScores(null);
      view.showAffect(null);
    }
  }

  #showResult() {
    const model = view.$("model").textContent;
    this.#result.show({ record: this.#record, whole: this.#whole, totals: this.#totals, model });
    say(view.$("toggle"), "start.anew");
  }

  #askToken() {
    askToken((token) => this.#stream.connect(token));
  }

  /** @param {view.RunState} state */
  #become(state) {
    this.#state = state;
    view.showButton(state);
    this.#source.allow(state === "off");
    if (state !== "on") this.#level.clear();
    this.#showConnection();
  }

  /** @param {number} at */
  #draw(at) {
    this.#chart.draw(at);
    if (this.#state === "on") requestAnimationFrame((next) => this.#draw(next));
  }

  // -- from the microphone -------------------------------------------------------------------------

  /** @param {client.MicrophoneChunk} chunk */
  #onChunk({ pcm, samples, level }) {
    const ms = (1000 * samples) / RATE;
    if (this.#stream.send(pcm)) {
      this.#timeline.addAudio(ms, performance.now());
      this.#whole.addSound(pcm, samples);
    }
    this.#level.show(pcm, level, this.#speaking);
    view.$("clock").textContent = clock(Math.floor(this.#timeline.now / 1000));
    this.#silentChunks = level === 0 ? this.#silentChunks + 1 : 0;
    if (this.#silentChunks === SILENT_CHUNKS) view.notify("silent", "warn", "level.silent");
    if (level > 0) view.clearNotice("silent");
    if (this.#link !== "online") this.#showConnection();
    this.#showAge();
  }

  #showAge() {
    view.showAge(this.#age.at(performance.now(), this.#link !== "online" || !this.#ready));
  }

  async #onSourceGone() {
    if (this.#source.kind === "microphone") view.notifyError({ code: "MIC_GONE" });
    await this.#stop();
  }

  // -- from the server -----------------------------------------------------------------------------

  #listen() {
    this.#stream
      .on("state", ({ state }) => this.#onState(state))
      .on("session", (session) => this.#onSession(session))
      .on("result", (result) => this.#onResult(result))
      .on("speech", (speech) => this.#onSpeech(speech))
      .on("utterance", (utterance) => this.#onUtterance(utterance))
      .on("lost", (lost) => this.#onLost(lost))
      .on("alert", (alert) => this.#onAlert(alert))
      .on("dropped", ({ ms }) => this.#onDropped(ms))
      .on("summary", (summary) => this.#totals.addSummary(summary))
      .on("waiting", (error) => {
        if (error) view.notifyError(error, "warn");
        else view.clearWaiting();
      })
      .on("error", (error) => this.#onError(error, error.fatal));
  }

  /** @param {client.ConnectionState} state */
  #onState(state) {
    this.#link = state;
    if (state === "unauthorized") this.#askToken();
    this.#showConnection();
  }

  /** @param {client.SessionOpened} session */
  #onSession(session) {
    this.#originMs = this.#baseMs + session.origin_ms;
    view.showModel(session.model);
    if (session.resumed) view.notify("session", "info", "notice.resumed");
    if (!session.replaced) return;
    this.#timeline.endSpeech(this.#originMs); // what was open in the earlier session ends with it
    this.#age.heard(performance.now(), false);
    view.showSpeech("no");
    view.notify("session", "warn", "notice.replaced");
  }

  /** @param {client.EmotionResult} result */
  #onResult(result) {
    const start = this.#originMs + result.start_ms;
    const end = start + result.frame_scores.length * result.step_ms;
    const scores = asRow(result.scores);
    this.#timeline.addState(start, end, scores);
    this.#whole.addState(start, end, scores);
    const arrivedAt = this.#timeline.arrivalOf(end - result.step_ms + result.frame_ms);
    const now = performance.now();
    const delayMs = arrivedAt && now - arrivedAt;
    this.#age.answered(now, delayMs);
    this.#totals.addDelay(delayMs, result.latency_ms);
    view.showDelay(this.#totals.delayMs, this.#totals.serverMs);
    const feeling = this.#steady.take(end, scores);
    if (this.#state !== "on") return;
    if (feeling) view.showFeeling(feeling);
    view.showScores(scores);
    view.showAffect(result);
    this.#showAge();
  }

  /** @param {client.Speech} speech */
  #onSpeech({ state, at_ms: at }) {
    const begins = state === "start";
    this.#speaking = begins;
    this.#age.heard(performance.now(), begins);
    if (begins) this.#timeline.startSpeech(this.#originMs + at);
    else this.#timeline.endSpeech(this.#originMs + at);
    if (begins) this.#steady.begin(this.#originMs + at);
    if (this.#state !== "on") return;
    if (begins) view.showMode("listening");
    view.showSpeech(begins ? "yes" : "no");
  }

  /** @param {client.Utterance} utterance */
  #onUtterance(utterance) {
    const [start, end] = [this.#originMs + utterance.start_ms, this.#originMs + utterance.end_ms];
    this.#totals.addUtterance(end - start);
    this.#record.addUtterance(utterance, this.#originMs);
    this.#timeline.addUtterance(start, end, utterance.emotion, feelingOf(asRow(utterance.scores)).sure);
    addUtterance(utterance, start, this.#totals.utterances);
    view.showTotals(this.#totals);
  }

  /** @param {client.Lost} lost */
  #onLost({ start_ms: start, end_ms: end, code }) {
    this.#totals.lostMs += end - start;
    this.#timeline.addLost(this.#originMs + start, this.#originMs + end, code);
    this.#record.addLost(this.#originMs + start, this.#originMs + end, code);
    view.showTotals(this.#totals);
    view.notifyError({ code }, "warn");
  }

  /** @param {client.Alert} alert */
  #onAlert(alert) {
    const key = `alert-${alert.rule}`;
    const atMs = this.#originMs + alert.at_ms;
    this.#record.addAlert(alert, atMs);
    if (alert.state === "cleared") return view.clearNotice(key);
    const time = clock(Math.floor(atMs / 1000));
    const tone = /** @type {const} */ ({ info: "info", warning: "warn", critical: "error" })[alert.level];
    addAlert(alert, time);
    this.#alerting.add(key);
    view.notify(key, tone, "notice.alert", null, { time, ...messageOf(alert) });
  }

  /** @param {number} ms */
  #onDropped(ms) {
    const { now } = this.#timeline;
    this.#totals.droppedMs += ms;
    this.#timeline.addLost(now, now); // it has no place of its own on the timeline: a mark
    view.notify("dropped", "warn", "notice.dropped", null, { s: Math.round(this.#totals.droppedMs / 1000) });
  }

  /** The server took some audio for none, or (fatal) wants no session of ours.
   *  @param {client.EmotionError} error @param {boolean} fatal */
  async #onError(error, fatal) {
    if (error.code === "CLOSED") return; // stop was pressed before there was a session
    view.notifyError(error);
    if (fatal) await this.#stop();
  }

  // -- the page ------------------------------------------------------------------------------------

  #showConnection() {
    const away = this.#link === "offline" || this.#link === "connecting";
    if (this.#state === "on" && away) view.showReconnecting(this.#stream.bufferedMs);
    else view.showConnection(this.#link === "online" && !this.#ready ? "loading" : this.#link);
  }

  /** @param {number | null} ms */
  #showPoint(ms) {
    const scores = ms === null ? undefined : this.#timeline.scoresAt(ms);
    this.#legend.forEach((value, i) => (value.textContent = scores ? percent(scores[i]) : ""));
    if (ms !== null && scores) say(view.$("minute-note"), "chart.at", { time: clock(Math.floor(ms / 1000)) });
    else say(view.$("minute-note"), "minute.note");
  }
}
