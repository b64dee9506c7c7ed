/* The list of recorded sessions, searched and filtered; one of them opened, two of them compared. Which one is
   open stands in the address: sessions#ID. */

import { EmotionError } from "../../client/emotion-stream.js";
import { makeSaver } from "../listen/saver.js";
import { length } from "../listen/time.js";
import { EMOTIONS, asRow } from "../shared/emotions.js";
import { showConnection } from "../shared/header.js";
import { $, make, notify, notifyError, stackOf } from "../shared/parts.js";
import { currentLanguage, names, onLanguage, percent, say, t } from "../shared/text.js";
import { askToken, keptToken } from "../shared/token.js";
import { Opened } from "./opened.js";
import { likeliestOf, nameOf, wantedOf } from "./records.js";

/** @import { Head } from "./records.js" */

const TOKEN_KEY = "emotion-stream.monitor-token";
const PATH = "api/v1/sessions";
const MOST = 500;

export class Sessions {
  /** @type {Head[]} */
  #all = [];
  /** @type {string[]} ids, the one ticked first first */
  #ticked = [];
  #saver = makeSaver(
    () => keptToken(TOKEN_KEY),
    (problem) => this.#fail(problem),
  );
  #opened = new Opened(this.#saver, {
    onProblem: (problem) => this.#fail(problem),
    onDelete: (head) => this.#remove(head),
  });

  constructor() {
    $("emotion").append(make("option", { value: "", "data-t": "filter.any" }));
    for (const { label } of EMOTIONS) {
      const option = make("option", { value: label });
      say(option, "{name}", { name: () => names(label)[0] });
      $("emotion").append(option);
    }
    $("search").oninput = $("emotion").onchange = () => this.#list();
    $("refresh").onclick = () => this.load();
    $("compared-close").onclick = () => {
      this.#ticked = [];
      this.#list();
    };
    addEventListener("hashchange", () => this.#follow());
    onLanguage(() => this.#list());
  }

  async load() {
    try {
      const answer = await (await this.#saver.get(`${PATH}?limit=${MOST}`)).json();
      this.#all = answer.sessions;
    } catch (problem) {
      return this.#fail(problem);
    }
    showConnection("online");
    this.#ticked = this.#ticked.filter((id) => this.#find(id));
    this.#list();
    this.#follow();
  }

  /** @param {unknown} problem */
  #fail(problem) {
    const error = problem instanceof EmotionError ? problem : new EmotionError("other", String(problem));
    const refused = error.code === "UNAUTHORIZED";
    if (error.code === "AWAY") showConnection("offline");
    if (!refused) return notifyError(error);
    showConnection("unauthorized");
    askToken(() => this.load(), TOKEN_KEY);
  }

  /** @param {string} id */
  #find(id) {
    return this.#all.find((head) => head.id === id);
  }

  // -- the list --------------------------------------------------------------------------------------

  #list() {
    const text = $("search", HTMLInputElement).value;
    const shown = wantedOf(this.#all, { text, emotion: $("emotion", HTMLSelectElement).value });
    say($("count"), "records.count", { shown: shown.length, all: this.#all.length });
    $("empty").hidden = shown.length > 0;
    say($("empty"), this.#all.length ? "records.nothing" : "records.none");
    $("compare-how").hidden = this.#all.length < 2;
    $("rows").replaceChildren(...shown.map((head) => this.#row(head)));
    this.#compare();
  }

  /** @param {Head} head */
  #row(head) {
    const tick = make("input", { type: "checkbox", "aria-label": t("compare", { name: nameOf(head) }) });
    tick.checked = this.#ticked.includes(head.id);
    tick.onchange = () => {
      const others = this.#ticked.filter((id) => id !== head.id);
      this.#ticked = tick.checked ? [...others, head.id].slice(-2) : others;
      this.#list();
      [...$("rows").querySelectorAll("input")].find(({ ariaLabel }) => ariaLabel === tick.ariaLabel)?.focus();
    };
    const emotion = likeliestOf(head);
    const button = make(
      "button",
      { type: "button", "aria-current": head.id === location.hash.slice(1) },
      make("span", { class: "when" }, new Date(head.started_utc).toLocaleString(currentLanguage())),
      make("b", {}, nameOf(head)),
      stackOf(asRow(head.share ?? {}), "span"),
      make("span", { class: "long" }, head.audio_ms === undefined ? "–" : length(head.audio_ms / 1000)),
      make("span", { class: "value" }, emotion ? percent(head.share?.[emotion] ?? 0) : "–"),
    );
    if (emotion) button.title = names(emotion)[0];
    button.onclick = () => (location.hash = head.id);
    return make("li", {}, tick, button);
  }

  // -- one, and two ----------------------------------------------------------------------------------

  #follow() {
    const id = decodeURIComponent(location.hash.slice(1));
    const head = this.#find(id);
    if (id && !head) notifyError({ code: "NOT_FOUND" });
    this.#opened.open(head ?? null);
    this.#list();
  }

  #compare() {
    const [first, second] = this.#ticked.map((id) => this.#find(id));
    $("compared").hidden = !first || !second;
    if (!first || !second) return;
    $("first-name").textContent = nameOf(first);
    $("second-name").textContent = nameOf(second);
    const rows = EMOTIONS.map(({ label }) => {
      const [a, b] = [first.share?.[label] ?? 0, second.share?.[label] ?? 0];
      const more = Math.round(100 * (b - a));
      const cells = [percent(a), percent(b), more > 0 ? `+${more}` : String(more).replace("-", "−")];
      return make(
        "tr",
        { "data-more": more > 0 ? "second" : more < 0 ? "first" : "" },
        make("th", { scope: "row" }, names(label)[0]),
        ...cells.map((text) => make("td", {}, text)),
      );
    });
    $("compared-rows").replaceChildren(...rows);
  }

  /** @param {Head} head */
  async #remove(head) {
    try {
      await this.#saver.remove(`${PATH}/${encodeURIComponent(head.id)}`);
    } catch (problem) {
      return this.#fail(problem);
    }
    notify("deleted", "info", "deleted", null, { name: nameOf(head) });
    location.hash = "";
    await this.load();
  }
}
