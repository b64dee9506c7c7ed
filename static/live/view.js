/* What the live page shows of this moment: the emotion, the nine bars, the level, the connection, the session's
   figures. It is told what is so and puts it on the page; it decides nothing. What other pages show as well is
   in shared/parts.js and shared/header.js. */

import { showConnection } from "../shared/header.js";
import { feelingOf } from "../shared/feeling.js";
import { $, buildBars, buildGauges, clearNotice, showFeeling } from "../shared/parts.js";
import { onLanguage, say, seconds, t } from "../shared/text.js";

/** @import { Staleness } from "./age.js" */
/** @typedef {"off" | "starting" | "on" | "stopping" | "paused"} RunState */

export { showConnection } from "../shared/header.js";
export * from "../shared/parts.js";

// -- now -------------------------------------------------------------------------------------------

/** `kind`: of source that is asked for.
 *  @param {"idle" | "asking" | "listening" | "paused"} mode @param {import("./source.js").Kind} [kind] */
export function showMode(mode, kind = "microphone") {
  $("hero").dataset.mode = mode;
  say($("sure-what"), "hero.confidence");
  say($("scores-note"), "scores.note");
  const key = mode === "asking" && kind !== "microphone" ? `hero.asking.${kind}` : `hero.${mode}`;
  say($("name"), key);
  say($("name-also"), `${key}.do`);
  $("face").style.setProperty("--p", "0");
  delete $("face").dataset.emotion;
  delete $("hero").dataset.sure;
}

export const { showScores, showSupported } = buildBars($("bars"));
export const showAffect = buildGauges($("gauges"));

/** What the whole run came to, where the emotion of now was.
 *  @param {number[]} share of each label, in label order @param {string} time that it took */
export function showResult(share, time) {
  showFeeling(feelingOf(share));
  say($("hero-title"), "hero.result", { time });
  say($("sure-what"), "hero.share");
  say($("scores-note"), "scores.share");
  showScores(share);
}

/** What is shown of an emotion fades when nobody speaks.
 *  @param {"off" | "no" | "yes"} state */
export function showSpeech(state) {
  $("speech").dataset.state = state;
  say($("speech-state"), `speech.${state}`);
  $("hero").dataset.fresh = String(state !== "no" || $("hero").dataset.mode !== "emotion");
}

/** What was answered long ago is not shown as of now.
 *  @param {Staleness} age */
export function showAge(age) {
  $("hero").dataset.age = age.state;
  if (age.state === "now") return say($("hero-title"), "hero.label");
  say($("hero-title"), `hero.${age.state}`, { s: Math.round(age.ms / 1000) });
}

let listening = false;
onLanguage(entitle);

/** A dot in the title of the tab while it listens. */
function entitle() {
  document.title = (listening ? "● " : "") + t("title");
}

/** @param {RunState} state */
export function showButton(state) {
  const button = $("toggle", HTMLButtonElement);
  button.dataset.on = String(state !== "off");
  button.setAttribute("aria-disabled", String(state === "stopping")); // disabled, it would lose the focus
  say(button, { off: "start", starting: "cancel", on: "stop", stopping: "stopping", paused: "stop" }[state]);
  $("pause").hidden = state !== "on" && state !== "paused";
  say($("pause"), state === "paused" ? "resume" : "pause.run");
  listening = state === "on";
  entitle();
}

// -- connection and session ------------------------------------------------------------------------

/** @param {number} keptMs of audio that waits for the connection */
export function showReconnecting(keptMs) {
  const note = { key: "state.kept", values: { s: Math.round(keptMs / 1000) } };
  showConnection("reconnecting", keptMs ? { note } : {});
}

/** The server takes audio again. */
export function clearWaiting() {
  for (const code of ["NOT_READY", "OVERLOADED", "RATE_LIMITED", "TOO_MANY_SESSIONS"]) clearNotice(code);
}

/** @param {"nothing" | "scores" | "audio"} keeps what the server keeps of a session */
export function showKept(keeps) {
  say($("privacy-text"), `privacy.${keeps}`);
}

/** @param {string} model @param {string | null} [device] */
export function showModel(model, device) {
  if (model) $("model").textContent = model;
  if (device) $("device").textContent = device;
}

/** @param {number} [soundToScreen] @param {number} [server] ms */
export function showDelay(soundToScreen, server) {
  if (soundToScreen !== undefined) say($("delay"), "session.delay.value", { ms: Math.round(soundToScreen) });
  if (server !== undefined) say($("latency"), "session.delay.value", { ms: Math.round(server) });
}

/** @param {{speechMs: number, lostMs: number}} totals */
export function showTotals({ speechMs, lostMs }) {
  say($("spoken"), "duration", { s: seconds(speechMs) });
  say($("lost"), "duration", { s: seconds(lostMs) });
  $("lost-cell").dataset.some = String(lostMs > 0);
}
