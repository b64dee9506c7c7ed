/* What the live page shows of this moment: the emotion, the nine bars, the level, the connection, the session's
   figures. It is told what is so and puts it on the page; it decides nothing. What other pages show as well is
   in parts.js. */

import { EMOTIONS } from "../shared/emotions.js";
import { $, buildBars } from "../shared/parts.js";
import { say, seconds } from "../shared/text.js";

export * from "../shared/parts.js";

// -- now -------------------------------------------------------------------------------------------

/** `mode`: idle · listening · emotion. */
export function showMode(mode) {
  $("hero").dataset.mode = mode;
  if (mode === "emotion") return;
  say($("name"), `hero.${mode}`);
  say($("name-also"), `hero.${mode}.do`);
  $("face").style.setProperty("--p", 0);
  delete $("face").dataset.emotion;
}

const bars = buildBars($("bars"));
export const { showScores } = bars;

export function showAble(canSay) {
  bars.showAble(canSay);
  $("unable").hidden = canSay.length === EMOTIONS.length;
}

/** `state`: off · no · yes. What is shown of an emotion fades when nobody speaks. */
export function showSpeech(state) {
  $("speech").dataset.state = state;
  say($("speech").firstElementChild, `speech.${state}`);
  $("hero").dataset.fresh = state !== "no" || $("hero").dataset.mode !== "emotion";
}

export function showLevel(level) {
  const db = Math.max(-60, 20 * Math.log10(level || 1e-9));
  $("level").firstElementChild.style.setProperty("--p", 1 + db / 60);
  $("level").setAttribute("aria-valuenow", Math.round(db));
}

/** `state`: off · starting · on · stopping. */
export function showButton(state) {
  $("toggle").dataset.on = state === "on" || state === "stopping";
  $("toggle").disabled = state === "starting" || state === "stopping";
  say($("toggle"), { on: "stop", stopping: "stopping" }[state] ?? "start");
}

// -- connection and session ------------------------------------------------------------------------

export function showConnection(state, keptMs) {
  $("connection").dataset.state = state;
  say($("state"), `state.${state}`);
  if (keptMs) say($("kept"), "state.kept", { s: Math.round(keptMs / 1000) });
  $("kept").hidden = !keptMs;
}

export function showModel(model, device) {
  if (model) $("model").textContent = model;
  if (device) $("device").textContent = device;
}

export function showDelay(voiceToScreen, server) {
  if (voiceToScreen !== undefined) say($("delay"), "session.delay.value", { ms: Math.round(voiceToScreen) });
  if (server !== undefined) say($("latency"), "session.delay.value", { ms: Math.round(server) });
}

export function showTotals({ speechMs, lostMs }) {
  say($("spoken"), "duration", { s: seconds(speechMs) });
  say($("lost"), "duration", { s: seconds(lostMs) });
  $("lost-cell").dataset.some = lostMs > 0;
}
