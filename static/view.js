/* What the page shows of this moment: the emotion, the nine bars, the level, the connection, the session's
   figures and the notices. It is told what is so and puts it on the page; it decides nothing. */

import { EMOTIONS } from "./emotions.js";
import { known, names, percent, say, seconds, t } from "./text.js";

const INFO_MS = 6_000;

export const $ = (id) => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** An element with both names of an emotion, that follows the language. */
export function bothNames(label) {
  const first = make("b");
  const second = make("span", { class: "also" });
  say(first, "{name}", { name: () => names(label)[0] });
  say(second, "{name}", { name: () => names(label)[1] });
  return make("span", { class: "names" }, first, " ", second);
}

/** A legend of the nine, each with a place for a value; gives those places in label order. */
export function buildLegend(list) {
  return EMOTIONS.map(({ label }) => {
    const value = make("span", { class: "value" });
    list.append(make("li", { "data-emotion": label }, bothNames(label), value));
    return value;
  });
}

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

export function showEmotion(label, confidence) {
  showMode("emotion");
  $("face").dataset.emotion = label;
  $("face").style.setProperty("--p", confidence);
  $("emoji").textContent = EMOTIONS.find((emotion) => emotion.label === label)?.emoji ?? "❓";
  say($("name"), "{name}", { name: () => names(label)[0] });
  say($("name-also"), "{name}", { name: () => names(label)[1] });
  $("confidence").textContent = percent(confidence);
}

const bars = EMOTIONS.map(({ label, emoji }) => {
  const fill = make("i");
  const bar = make("div", { class: "bar", "aria-hidden": "true" }, fill); // the figure beside it says the same
  const value = make("span", { class: "value" }, "–");
  const row = make("li", { "data-emotion": label }, make("span", { class: "emoji", "aria-hidden": "true" }, emoji), bothNames(label), bar, value);
  $("bars").append(row);
  return { row, fill, value };
});

/** Nine probabilities in label order; null clears the bars. */
export function showScores(row) {
  const top = row ? row.indexOf(Math.max(...row)) : -1;
  bars.forEach(({ row: item, fill, value }, i) => {
    fill.style.setProperty("--p", row ? row[i] : 0);
    value.textContent = row ? percent(row[i]) : "–";
    item.dataset.top = i === top;
  });
}

/** `canSay`: the labels that the model can produce; the others stay at 0 and are drawn back. */
export function showAble(canSay) {
  EMOTIONS.forEach(({ label }, i) => (bars[i].row.dataset.able = canSay.includes(label)));
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

// -- notices ---------------------------------------------------------------------------------------

/** One notice for each `key`; showing it again replaces it. `tone`: error · warn · info (goes by itself). */
export function notify(key, tone, text, doText, values) {
  clearNotice(key);
  const what = make("b");
  const todo = make("span");
  const close = make("button", { class: "quiet", type: "button" }, "✕");
  close.setAttribute("data-t-label", "close");
  close.setAttribute("aria-label", t("close"));
  close.onclick = () => clearNotice(key);
  say(what, text, values);
  if (doText) say(todo, doText, values);
  $("notices").append(make("div", { class: `notice ${tone}`, "data-key": key }, make("div", {}, what, " ", todo), close));
  if (tone === "info") setTimeout(() => clearNotice(key), INFO_MS);
}

/** An error by its code, in words. */
export function notifyError({ code, message = "" }, tone = "error") {
  const name = known(`error.${code}`) ? code : "other";
  notify(code, tone, `error.${name}`, `error.${name}.do`, { code, message });
}

export function clearNotice(key) {
  document.querySelector(`.notice[data-key="${CSS.escape(key)}"]`)?.remove();
}

export function clearNotices() {
  $("notices").replaceChildren();
}
