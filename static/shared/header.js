/* The header of every page: what the page is, the way to the others, the state of the connection, the language.
   A page starts in this order: its words (addWords), the header, the status of the server, what is its own. */

import { $, make } from "./parts.js";
import { currentLanguage, say, speak, toggleLanguage } from "./text.js";
import { trustButton } from "./trust.js";

const PAGES = { live: "./", files: "upload", desk: "desk", sessions: "sessions" };

/** Fill the page's <header>, around what it holds of its own, and show the page in the reader's language.
 *  @param {keyof typeof PAGES} current the page that this is */
export function buildHeader(current) {
  const links = Object.entries(PAGES).map(([name, href]) =>
    make("a", { href, "data-t": `page.${name}`, "aria-current": name === current ? "page" : "false" }),
  );
  const state = make("span", { id: "state", "data-t": "state.connecting" });
  const note = make("span", { id: "state-note", "aria-hidden": "true", hidden: "" });
  buildFrame(
    make("nav", { class: "pages", "data-t-label": "pages" }, ...links),
    make("p", { class: "pill", id: "connection", "data-state": "connecting", role: "status" }, state, note),
    trustButton(),
  );
}

/** The header of a page that stands alone: what it is, and the language; `parts` between the two.
 *  @param {HTMLElement[]} parts */
export function buildFrame(...parts) {
  const language = make("button", { class: "quiet", id: "language", type: "button" });
  say(language, "language.other");
  language.onclick = toggleLanguage;
  $("header").prepend(
    make("img", { class: "mark", src: "static/shared/icon.svg", alt: "", width: 32, height: 32 }),
    make("div", { class: "brand" }, make("h1", {}, "emotion-stream"), make("p", { "data-t": "tagline" })),
    ...parts,
  );
  $("header").append(language);
  speak(currentLanguage());
}

/** `state`: online · offline · connecting · unauthorized … `key`: of its text. `note`: what is said beside it.
 *  @param {string} state
 *  @param {{key?: string, note?: {key: string, values: import("./text.js").Values}}} [how] */
export function showConnection(state, { key = `state.${state}`, note } = {}) {
  $("connection").dataset.state = state;
  say($("state"), key);
  $("state-note").hidden = !note;
  if (note) say($("state-note"), note.key, note.values);
}
