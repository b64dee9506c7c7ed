/* What every page is made of: elements that follow the language, the face, legend and bars of the nine
   emotions, and the notices. Whoever shows a face or notices has the elements that are named there. */

import { EMOTIONS, emotionOf } from "./emotions.js";
import { known, names, percent, say, t } from "./text.js";

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

/** The big face: an emotion by both names, and how sure it is. */
export function showEmotion(label, confidence) {
  $("hero").dataset.mode = "emotion";
  $("face").dataset.emotion = label;
  $("face").style.setProperty("--p", confidence);
  $("emoji").textContent = emotionOf(label).emoji;
  say($("name"), "{name}", { name: () => names(label)[0] });
  say($("name-also"), "{name}", { name: () => names(label)[1] });
  $("confidence").textContent = percent(confidence);
}

/** The nine bars in `list`, and the two ways to change them. */
export function buildBars(list) {
  const bars = EMOTIONS.map(({ label, emoji }) => {
    const fill = make("i");
    const bar = make("div", { class: "bar", "aria-hidden": "true" }, fill); // the figure beside it says the same
    const value = make("span", { class: "value" }, "–");
    const face = make("span", { class: "emoji", "aria-hidden": "true" }, emoji);
    const row = make("li", { "data-emotion": label }, face, bothNames(label), bar, value);
    list.append(row);
    return { row, fill, value };
  });

  /** Nine probabilities in label order; null clears the bars. */
  function showScores(row) {
    const top = row ? row.indexOf(Math.max(...row)) : -1;
    bars.forEach(({ row: item, fill, value }, i) => {
      fill.style.setProperty("--p", row ? row[i] : 0);
      value.textContent = row ? percent(row[i]) : "–";
      item.dataset.top = i === top;
    });
  }

  /** `canSay`: the labels that the model can produce; the others stay at 0 and are drawn back. */
  function showAble(canSay) {
    EMOTIONS.forEach(({ label }, i) => (bars[i].row.dataset.able = canSay.includes(label)));
  }

  return { showScores, showAble };
}

// -- notices ---------------------------------------------------------------------------------------

/** One notice for each `key`; showing it again replaces it. `tone`: error · warn · info (goes by itself).
    `act`: {text, run}, a button for what can be done at once. */
export function notify(key, tone, text, doText, values, act) {
  clearNotice(key);
  const what = make("b");
  const todo = make("span");
  const close = make("button", { class: "quiet", type: "button" }, "✕");
  close.setAttribute("data-t-label", "close");
  close.setAttribute("aria-label", t("close"));
  close.onclick = () => clearNotice(key);
  say(what, text, values);
  if (doText) say(todo, doText, values);
  const notice = make(
    "div",
    { class: `notice ${tone}`, "data-key": key },
    make("div", {}, what, " ", todo),
    close,
  );
  if (act) {
    const button = make("button", { class: "quiet act", type: "button" });
    say(button, act.text);
    button.onclick = act.run;
    close.before(button);
  }
  $("notices").append(notice);
  if (tone === "info") setTimeout(() => clearNotice(key), INFO_MS);
}

/** An error by its code, in words. */
export function notifyError({ code, message = "" }, tone = "error", act) {
  const name = known(`error.${code}`) ? code : "other";
  notify(code, tone, `error.${name}`, `error.${name}.do`, { code, message }, act);
}

export function clearNotice(key) {
  document.querySelector(`.notice[data-key="${CSS.escape(key)}"]`)?.remove();
}

export function clearNotices() {
  $("notices").replaceChildren();
}
