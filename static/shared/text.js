/* Every word on a page, in English and Chinese, and the one mechanism that puts words on the page:
   an element with data-t="key" shows the text of that key, and shows it anew when the language changes;
   data-t-label and data-t-placeholder do the same for its aria-label and placeholder, and data-t-other says that
   its words are in the language that is not chosen, for those who have the page read out.
   Emotions are named in both languages whichever is chosen; their names are in emotions.js. */

import { emotionOf, nameInChinese } from "./emotions.js";
import { WORDS } from "./words.js";

/** @typedef {"en" | "zh"} Language */
/** @typedef {Record<string, unknown>} Values for the {places} of a text; a function there is called */

const KEY = "emotion-stream.language";
/** @type {Record<Language, Record<string, string>>} */
const words = WORDS;
/** @type {WeakMap<Element, Values | undefined>} */
const values = new WeakMap(); // of each element's text
/** @type {(() => void)[]} */
const listeners = [];

let language = asked() ?? stored() ?? (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");

export function currentLanguage() {
  return language;
}

/** The text of `key`, with `{name}` replaced from `filling`.
 *  @param {string} key @param {Values} [filling] */
export function t(key, filling = {}) {
  const text = words[language][key] ?? words.en[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (place, name) => {
    const value = filling[name];
    return String((typeof value === "function" ? value() : value) ?? place);
  });
}

/** The words of a page of its own, beside those of words.js or in their place.
 *  @param {Record<Language, Record<string, string>>} more */
export function addWords(more) {
  Object.assign(words.en, more.en);
  Object.assign(words.zh, more.zh);
}

/** @param {string} key */
export function known(key) {
  return key in words.en;
}

/** Show the text of `key` in `element`, in whatever language is or will be chosen.
 *  @param {HTMLElement} element @param {string} key @param {Values} [filling] */
export function say(element, key, filling) {
  element.dataset.t = key;
  values.set(element, filling);
  translate(element);
}

/** Say what `element` is to those who do not see it.
 *  @param {HTMLElement} element @param {string} key */
export function sayLabel(element, key) {
  element.dataset.tLabel = key;
  translate(element);
}

/** Put the texts on `element` that its data-t… name.
 *  @param {HTMLElement} element */
export function translate(element) {
  const { t: key, tLabel, tOther, tPlaceholder } = element.dataset;
  if (key !== undefined) {
    const text = t(key, values.get(element));
    if (element.textContent !== text) element.textContent = text; // an unchanged live region stays silent
  }
  if (tOther !== undefined) element.lang = language === "zh" ? "en" : "zh-CN";
  if (tLabel !== undefined) element.setAttribute("aria-label", t(tLabel));
  if (tPlaceholder !== undefined) element.setAttribute("placeholder", t(tPlaceholder));
}

/** Choose a language and rewrite the page in it.
 *  @param {Language} chosen */
export function speak(chosen) {
  language = chosen;
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.title = t("title");
  /** @type {NodeListOf<HTMLElement>} */
  const named = document.querySelectorAll("[data-t], [data-t-label], [data-t-placeholder]");
  named.forEach(translate);
  for (const listener of listeners) listener();
}

/** Call `listener()` whenever another language has been chosen: for what is no text of its own.
 *  @param {() => void} listener */
export function onLanguage(listener) {
  listeners.push(listener);
}

export function toggleLanguage() {
  speak(language === "zh" ? "en" : "zh");
  try {
    localStorage.setItem(KEY, language);
  } catch {
    // A browser that keeps nothing still switches; it only forgets.
  }
}

/** What the address asks for: ?lang=zh
 *  @returns {Language | undefined} */
function asked() {
  return oneOf(new URLSearchParams(location.search).get("lang")?.slice(0, 2).toLowerCase());
}

/** @param {string | null | undefined} name */
function oneOf(name) {
  return name === "en" || name === "zh" ? name : undefined;
}

/** @returns {Language | undefined} */
function stored() {
  try {
    return oneOf(localStorage.getItem(KEY));
  } catch {
    return undefined;
  }
}

/** Both names of an emotion, the reader's own first.
 *  @param {string} label */
export function names(label) {
  const { en, zh } = emotionOf(label);
  return language === "zh" ? [zh, en] : [en, zh];
}

/** Call the nine emotions, in Chinese, as the server does.
 *  @param {string[]} [chinese] in the contract's order */
export function takeNames(chinese = []) {
  if (nameInChinese(chinese)) speak(language);
}

/** What an alert says, to fill a text with: in Chinese where that is chosen and its rule has it.
 *  @param {{message: string, message_zh?: string}} alert */
export function messageOf({ message, message_zh: chinese }) {
  return { message: () => (language === "zh" ? (chinese ?? message) : message) };
}

/** @param {number} p */
export function percent(p) {
  return `${Math.round(100 * p)}%`;
}

/** @param {number} ms */
export function seconds(ms) {
  return (ms / 1000).toFixed(ms < 100_000 ? 1 : 0);
}
