/* What every page is made of: elements that follow the language, the face, legend and bars of the nine
   emotions, and the notices. Whoever shows a face or notices has the elements that are named there. */

import { EMOTIONS, emotionOf } from "./emotions.js";
import { known, names, percent, say, translate } from "./text.js";

/** @import { Feeling } from "./feeling.js" */
/** @import { Values } from "./text.js" */
/** @typedef {{text: string, run: () => void}} Act a button for what can be done at once */

const INFO_MS = 6_000;

/** The element with this id; throws where the page has none of this kind.
 *  @template {HTMLElement} [E=HTMLElement]
 *  @param {string} id @param {new () => E} [kind]
 *  @returns {E} */
export function $(id, kind) {
  const element = document.getElementById(id);
  if (!(element instanceof (kind ?? HTMLElement))) throw new Error(`this page has no #${id} of that kind`);
  return /** @type {E} */ (element);
}

/** A new element; with data-t, data-t-label or data-t-placeholder its text follows the language.
 *  @template {keyof HTMLElementTagNameMap} T
 *  @param {T} tag
 *  @param {Record<string, string | number | boolean>} [attributes]
 *  @param {(Node | string)[]} children
 *  @returns {HTMLElementTagNameMap[T]} */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  translate(element);
  return element;
}

/** An element with both names of an emotion, that follows the language.
 *  @param {string} label */
export function bothNames(label) {
  const first = make("b");
  const second = make("span", { class: "also", "data-t-other": "" });
  say(first, "{name}", { name: () => names(label)[0] });
  say(second, "{name}", { name: () => names(label)[1] });
  return make("span", { class: "names" }, first, " ", second);
}

/** A bar of nine parts, as wide as the scores in `row` (label order).
 *  @template {"div" | "span"} T
 *  @param {number[]} row @param {T} tag */
export function stackOf(row, tag) {
  const parts = EMOTIONS.map(({ label }, i) => {
    const part = make("i", { "data-emotion": label });
    part.style.setProperty("--p", String(row[i]));
    return part;
  });
  return make(tag, { class: "stack", "aria-hidden": "true" }, ...parts);
}

/** A legend of the nine, each with a place for a value; gives those places in label order.
 *  @param {HTMLElement} list */
export function buildLegend(list) {
  return EMOTIONS.map(({ label }) => {
    const value = make("span", { class: "value" });
    list.append(make("li", { "data-emotion": label }, bothNames(label), value));
    return value;
  });
}

/** The big face: what is felt, and how sure that is. Whatever is not sure looks so.
 *  @param {Feeling} feeling */
export function showFeeling(feeling) {
  const { label, sure, confidence } = feeling;
  $("hero").dataset.mode = "emotion";
  $("hero").dataset.sure = sure;
  if (sure === "mixed") delete $("face").dataset.emotion;
  else $("face").dataset.emotion = label;
  $("face").style.setProperty("--p", String(confidence));
  $("emoji").textContent = facesOf(feeling);
  sayFeeling($("name"), feeling, 0);
  sayFeeling($("name-also"), feeling, 1);
  $("confidence").textContent = percent(confidence);
}

/** The faces of a feeling: one, two where it is one of two, a sign where it is none in particular.
 *  @param {Feeling} feeling */
export function facesOf({ label, other, sure }) {
  if (sure === "mixed") return "?";
  return emotionOf(label).emoji + (sure === "either" ? emotionOf(other).emoji : "");
}

/** An element with both names of a feeling, that follows the language.
 *  @param {Feeling} feeling */
export function namesOf(feeling) {
  if (feeling.sure === "sure") return bothNames(feeling.label);
  const first = make("b");
  sayFeeling(first, feeling, 0);
  const element = make("span", { class: "names" }, first);
  if (feeling.sure === "mixed") {
    const second = make("span", { class: "also" });
    sayFeeling(second, feeling, 1);
    element.append(" ", second);
  }
  return element;
}

/** Name a feeling in `element`.
 *  @param {HTMLElement} element @param {Feeling} feeling
 *  @param {0 | 1} which the reader's own name, or the other language's (the likeliest where it is mixed) */
export function sayFeeling(element, feeling, which) {
  const { label, other, sure } = feeling;
  const name = () => names(label)[which];
  if (sure === "sure") say(element, "{name}", { name });
  else if (sure === "mixed" && which === 0) say(element, "feels.mixed");
  else if (sure === "mixed") say(element, "feels.likeliest", likeliest(feeling));
  else if (which === 0) say(element, "feels.either", { name, other: () => names(other)[0] });
  else say(element, "{name} / {other}", { name, other: () => names(other)[1] });
}

/** @param {Feeling} feeling */
function likeliest({ label, other, confidence, rest }) {
  return {
    name: () => names(label)[0],
    p: percent(confidence),
    other: () => names(other)[0],
    q: percent(rest),
  };
}

/** Arousal and valence in `element`, and how to change them: from -1 to 1, null for nothing to show.
 *  @param {HTMLElement} element @returns {(affect: {arousal: number, valence: number} | null) => void} */
export function buildGauges(element) {
  const gauges = /** @type {const} */ (["arousal", "valence"]).map((name) => {
    const meter = make("meter", { min: "-1", max: "1", value: "0", "data-t-label": name });
    const value = make("span", { class: "value" }, "–");
    element.append(make("p", {}, make("span", { "data-t": name }), meter, value));
    return { name, meter, value };
  });
  return (affect) => {
    for (const { name, meter, value } of gauges) {
      meter.setAttribute("value", String(affect?.[name] ?? 0));
      value.textContent = affect ? signed(affect[name]) : "–";
    }
  };
}

/** @param {number} value */
function signed(value) {
  return `${value < -0.005 ? "−" : value > 0.005 ? "+" : ""}${Math.abs(value).toFixed(2)}`;
}

/** The nine bars in `list`, and the two ways to change them.
 *  @param {HTMLElement} list */
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

  /** Nine probabilities in label order; null clears the bars.
   *  @param {number[] | null} scores */
  function showScores(scores) {
    const top = scores ? scores.indexOf(Math.max(...scores)) : -1;
    bars.forEach(({ row, fill, value }, i) => {
      fill.style.setProperty("--p", String(scores ? scores[i] : 0));
      value.textContent = scores ? percent(scores[i]) : "–";
      row.dataset.top = String(i === top);
    });
  }

  /** The labels that the model can produce; the others stay at 0 and are drawn back, as `#unable` says.
   *  @param {string[]} labels */
  function showSupported(labels) {
    EMOTIONS.forEach(({ label }, i) => (bars[i].row.dataset.able = String(labels.includes(label))));
    $("unable").hidden = labels.length === EMOTIONS.length;
  }

  return { showScores, showSupported };
}

// -- notices ---------------------------------------------------------------------------------------

/** One notice for each `key`; showing it again replaces it. `tone`: error · warn · info (goes by itself).
 *  @param {string} key
 *  @param {"error" | "warn" | "info"} tone
 *  @param {string} text what happened
 *  @param {string | null} [doText] what to do about it
 *  @param {Values} [values] @param {Act} [act] */
export function notify(key, tone, text, doText, values, act) {
  clearNotice(key);
  const what = make("b");
  const todo = make("span");
  const close = make("button", { class: "quiet", type: "button", "data-t-label": "close" }, "✕");
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
    const button = make("button", { class: "quiet act", type: "button", "data-t": act.text });
    button.onclick = act.run;
    close.before(button);
  }
  $("notices").append(notice);
  if (tone === "info") setTimeout(() => clearNotice(key), INFO_MS);
}

/** An error by its code, in words.
 *  @param {{code: string, message?: string}} error
 *  @param {"error" | "warn"} [tone] @param {Act} [act] */
export function notifyError({ code, message = "" }, tone = "error", act) {
  const name = known(`error.${code}`) ? code : "other";
  notify(code, tone, `error.${name}`, `error.${name}.do`, { code, message }, act);
}

/** @param {string} key */
export function clearNotice(key) {
  document.querySelector(`.notice[data-key="${CSS.escape(key)}"]`)?.remove();
}

export function clearNotices() {
  $("notices").replaceChildren();
}
