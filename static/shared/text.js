/* Every word on a page, in English and Chinese, and the one mechanism that puts words on the page:
   an element with data-t="key" shows the text of that key, and shows it anew when the language changes.
   Emotions are named in both languages whichever is chosen; their names are in emotions.js. */

import { emotionOf } from "./emotions.js";
import { WORDS } from "./words.js";

const KEY = "emotion-stream.language";
const values = new WeakMap(); // element → the values of its text's {places}

let language = stored() ?? (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");

export function currentLanguage() {
  return language;
}

/** The text of `key`, with `{name}` replaced from `filling` (a function there is called). */
export function t(key, filling = {}) {
  const text = WORDS[language][key] ?? WORDS.en[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (place, name) => {
    const value = filling[name];
    return String((typeof value === "function" ? value() : value) ?? place);
  });
}

/** The words of a page of its own, beside those of words.js or in their place: {en: {key: text}, zh: {…}}. */
export function addWords(more) {
  for (const chosen of Object.keys(WORDS)) Object.assign(WORDS[chosen], more[chosen]);
}

export function known(key) {
  return key in WORDS.en;
}

/** Show the text of `key` in `element`, in whatever language is or will be chosen. */
export function say(element, key, filling) {
  element.dataset.t = key;
  values.set(element, filling);
  write(element);
}

function write(element) {
  const text = t(element.dataset.t, values.get(element));
  if (element.textContent !== text) element.textContent = text; // an unchanged live region stays silent
}

/** Choose a language and rewrite the page in it. */
export function speak(chosen) {
  language = chosen;
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.title = t("title");
  document.querySelectorAll("[data-t]").forEach(write);
  document.querySelectorAll("[data-t-label]").forEach((element) => {
    element.setAttribute("aria-label", t(element.dataset.tLabel));
  });
}

export function toggleLanguage() {
  speak(language === "zh" ? "en" : "zh");
  try {
    localStorage.setItem(KEY, language);
  } catch {
    // A browser that keeps nothing still switches; it only forgets.
  }
}

function stored() {
  try {
    const kept = localStorage.getItem(KEY);
    return kept in WORDS ? kept : undefined;
  } catch {
    return undefined;
  }
}

/** Both names of an emotion, the reader's own first. */
export function names(label) {
  const { en, zh } = emotionOf(label);
  return language === "zh" ? [zh, en] : [en, zh];
}

/** What an alert says, to fill a text with: in Chinese where that is chosen and its rule has it. */
export function messageOf({ message, message_zh: chinese }) {
  return { message: () => (language === "zh" ? (chinese ?? message) : message) };
}

export function percent(p) {
  return `${Math.round(100 * p)}%`;
}

export function seconds(ms) {
  return (ms / 1000).toFixed(ms < 100_000 ? 1 : 0);
}
