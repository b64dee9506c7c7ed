/* The live page: wires the microphone to the stream, and what comes back to the page. Session times
   become page times here (one run of the page may need several sessions: `origin` is where each begins). */

import { EmotionStream, Microphone, MICROPHONE_RATE as RATE } from "../../client/emotion-stream.js";
import { io } from "../vendor/socket.io-client/socket.io.esm.min.js";
import { Chart, clock } from "./chart.js";
import { asRow } from "../shared/emotions.js";
import { watchStatus } from "../shared/status.js";
import { currentLanguage, messageOf, percent, say, speak, toggleLanguage } from "../shared/text.js";
import { Timeline } from "./timeline.js";
import { askToken, keptToken } from "../shared/token.js";
import { Totals } from "./totals.js";
import { addUtterance, clearUtterances, hideSummary, showSummary } from "./utterances.js";
import * as view from "./view.js";

const STOP_S = 8; // how long the summary may take
const SILENT_CHUNKS = 30; // 3 s of exact zeros: a muted device, not a quiet room

const legend = view.buildLegend(view.$("legend"));
const chart = new Chart(view.$("plot"), showPoint);
// Audio waits in the page for as long as it takes: the person in front of it sees that, and can press stop.
const stream = new EmotionStream({ io, token: keptToken(), patience: Infinity, keepConnection: true });
const mic = new Microphone(onChunk, { onGone: onMicGone });
const status = watchStatus(
  () => stream.token,
  (answer) => {
    view.showModel(answer.model, answer.device);
    if (answer.can_say) view.showAble(answer.can_say);
    if (answer.keeps) say(view.$("privacy").querySelector("span"), `privacy.${answer.keeps}`);
    ready = answer.ready;
    showConnection();
  },
);

let running = "off"; // off · starting · on · stopping
let link = "connecting";
let ready = true; // what the server said of its model
let timeline; // of this run, from start to stop
let totals; // likewise
let origin; // where on the timeline the present session begins
let zeros; // chunks of nothing but zeros, in a row
reset();

function reset() {
  timeline = new Timeline();
  origin = zeros = 0;
  totals = new Totals();
}

// -- start and stop --------------------------------------------------------------------------------

async function start() {
  if (link === "unauthorized") return askToken(useToken);
  setRunning("starting");
  view.clearNotices();
  try {
    await mic.open();
  } catch (problem) {
    view.notifyError(problem);
    return setRunning("off");
  }
  reset();
  clearUtterances();
  hideSummary();
  view.$("plot").dataset.empty = "false";
  view.showScores(null);
  view.showMode("listening");
  view.showSpeech("no");
  view.showTotals(totals);
  chart.show(timeline);
  setRunning("on");
  stream.open({ sampleRate: RATE }).catch(refused);
  requestAnimationFrame(draw);
}

async function stop() {
  if (running !== "on") return;
  setRunning("stopping");
  await mic.close();
  const summary = await stream.stop({ patience: link === "online" ? STOP_S : 0 }).catch(() => null);
  if (summary || link !== "online") showSummary(summary && totals);
  setRunning("off");
  view.clearNotice("silent");
  view.showSpeech("off");
  view.showMode("idle");
  view.showScores(null);
}

function useToken(token) {
  stream.connect(token);
}

function setRunning(state) {
  running = state;
  view.showButton(state);
  if (state === "off") view.showLevel(0);
  showConnection();
}

function draw(at) {
  chart.draw(at);
  if (running === "on") requestAnimationFrame(draw);
}

// -- from the microphone ---------------------------------------------------------------------------

function onChunk({ pcm, samples, level }) {
  const ms = (1000 * samples) / RATE;
  if (stream.send(pcm)) timeline.heard(ms, performance.now());
  view.showLevel(level);
  view.$("clock").textContent = clock(Math.floor(timeline.now / 1000));
  zeros = level === 0 ? zeros + 1 : 0;
  if (zeros === SILENT_CHUNKS) view.notify("silent", "warn", "level.silent");
  if (level > 0) view.clearNotice("silent");
  if (link !== "online") showConnection();
}

async function onMicGone() {
  view.notifyError({ code: "MIC_GONE" });
  await stop();
}

// -- from the server -------------------------------------------------------------------------------

stream
  .on("state", ({ state }) => {
    link = state;
    if (state === "online") status.now();
    if (state === "unauthorized") askToken(useToken);
    showConnection();
  })
  .on("session", (session) => {
    origin = session.origin_ms;
    view.showModel(session.model);
    if (session.resumed) view.notify("session", "info", "notice.resumed");
    if (!session.replaced) return;
    timeline.speechEnded(origin); // what was open in the earlier session ends with it
    view.showSpeech("no");
    view.notify("session", "warn", "notice.replaced");
  })
  .on("result", (result) => {
    const start = origin + result.start_ms;
    const end = start + result.frame_scores.length * result.step_ms;
    const scores = asRow(result.scores);
    timeline.addState(start, end, scores);
    const heardAt = timeline.heardAt(end - result.step_ms + result.frame_ms);
    totals.addDelay(heardAt && performance.now() - heardAt, result.latency_ms);
    view.showDelay(totals.delayMs, totals.serverMs);
    if (running !== "on") return;
    view.showEmotion(result.emotion, result.confidence);
    view.showScores(scores);
  })
  .on("speech", ({ state, at_ms: at }) => {
    if (state === "start") timeline.speechStarted(origin + at);
    else timeline.speechEnded(origin + at);
    if (running === "on") view.showSpeech(state === "start" ? "yes" : "no");
  })
  .on("utterance", ({ start_ms: start, end_ms: end, emotion, confidence, scores, taught }) => {
    totals.addUtterance(end - start);
    timeline.addUtterance(origin + start, origin + end, emotion);
    addUtterance({
      startMs: origin + start,
      durationMs: end - start,
      emotion,
      confidence,
      scores,
      taught,
      count: totals.utterances,
    });
    view.showTotals(totals);
  })
  .on("lost", ({ start_ms: start, end_ms: end, code }) => {
    totals.lostMs += end - start;
    timeline.addLost(origin + start, origin + end, code);
    view.showTotals(totals);
    view.notifyError({ code }, "warn");
  })
  .on("alert", ({ rule, level, state, at_ms: at, ...alert }) => {
    const key = `alert-${rule}`;
    if (state === "cleared") view.clearNotice(key);
    else
      view.notify(key, level === "info" ? "info" : "warn", "notice.alert", null, {
        time: clock(Math.floor((origin + at) / 1000)),
        ...messageOf(alert),
      });
  })
  .on("dropped", ({ ms }) => {
    totals.droppedMs += ms;
    timeline.addLost(timeline.now, timeline.now); // it has no place of its own on the timeline: a mark
    view.notify("dropped", "warn", "notice.dropped", null, { s: Math.round(totals.droppedMs / 1000) });
  })
  .on("summary", (summary) => totals.addSummary(summary))
  .on("waiting", (error) => {
    if (error) view.notifyError(error, "warn");
    else
      for (const code of ["NOT_READY", "OVERLOADED", "RATE_LIMITED", "TOO_MANY_SESSIONS"])
        view.clearNotice(code);
  })
  .on("error", refused);

/** The server took some audio for none, or (fatal) wants no session of ours. */
async function refused(problem) {
  if (problem.code === "CLOSED") return; // stop was pressed before there was a session
  view.notifyError(problem);
  if (!stream.wanted) await stop();
}

// -- the page --------------------------------------------------------------------------------------

function showConnection() {
  const away = link === "offline" || link === "connecting";
  if (running === "on" && away) view.showConnection("reconnecting", stream.bufferedMs);
  else view.showConnection(link === "online" && !ready ? "loading" : link);
}

function showPoint(ms) {
  const scores = ms === null ? undefined : timeline.scoresAt(ms);
  legend.forEach((value, i) => (value.textContent = scores ? percent(scores[i]) : ""));
  if (scores) say(view.$("chart-note"), "chart.at", { time: clock(Math.floor(ms / 1000)) });
  else say(view.$("chart-note"), "chart.note");
}

addEventListener("online", () => link === "offline" && stream.hurry());
view.$("toggle").onclick = () => (running === "on" ? stop() : start());
view.$("language").onclick = toggleLanguage;
speak(currentLanguage());
view.showButton("off");
stream.connect();
