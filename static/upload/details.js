/* One file: what was found in it, what was done with it, what can be saved of it. */

import { Listening } from "../listen/listening.js";
import { bytes, length } from "../listen/time.js";
import { Utterances } from "../listen/utterances.js";
import { asRow } from "../shared/emotions.js";
import { feelingOf } from "../shared/feeling.js";
import { $, buildBars, make, showFeeling } from "../shared/parts.js";
import { messageOf, percent, say } from "../shared/text.js";
import { isOpen } from "./queue.js";
import { errorKey, stateText } from "./states.js";
import { showSteps } from "./steps.js";

/** @import { Recognition } from "../../client/emotion-stream.js" */
/** @import { Change, Shown, State } from "./queue.js" */
/** @import { Saver } from "../listen/saver.js" */
/** @import { FrameStore } from "../listen/store.js" */

/** @type {Partial<Record<State, string>>} */
const TONES = {
  done: "yes",
  failed: "bad",
  canceled: "no",
  uploading: "busy",
  working: "busy",
  held: "warn",
};
// What can be saved: how it is called on the page, and what the name of the file ends with.
const SAVED = /** @type {const} */ ([
  { kind: "result", name: "result.json", ending: "result.json" },
  { kind: "csv", name: "CSV", ending: "csv" },
  { kind: "audio", name: "processed_audio.wav", ending: "16k.wav" },
  { kind: "embedding", name: "embedding.npy", ending: "embedding.npy" },
]);
/** @type {Partial<Record<State, string>>} of the big face; all others: working */
const MODES = { done: "emotion", failed: "failed", canceled: "canceled" };

/** @template I @typedef {{onCancel?: (item: I) => void, onRetry?: (item: I) => void,
 *             onAgain?: (item: I) => void, onDelete: (item: I) => void}} Acts */

/** @template {Shown} I */
export class Details {
  /** @type {I | null} the one that is open */
  item = null;
  bars = buildBars($("bars"));
  #saver;
  #listening;
  #utterances = new Utterances($("utterances"), (utterance) => this.#listening.playSpan(utterance));

  /** @param {{saver: Saver, store: FrameStore, acts: Acts<I>, onProblem: (problem: unknown) => void}} parts */
  constructor({ saver, store, acts, onProblem }) {
    this.#saver = saver;
    const onTime = (/** @type {number} */ seconds, /** @type {boolean} */ playing) =>
      this.#utterances.mark(seconds, playing);
    this.#listening = new Listening({ get: saver.get, store, onProblem, onTime });
    const buttons = {
      "cancel-one": acts.onCancel,
      "retry-one": acts.onRetry,
      again: acts.onAgain,
      delete: acts.onDelete,
    };
    for (const [id, act] of Object.entries(buttons)) $(id).onclick = () => this.item && act?.(this.item);
  }

  /** null closes.
   *  @param {I | null} item */
  open(item) {
    if (item === this.item) return;
    this.item = item;
    $("details").hidden = !item;
    if (!item) return this.#listening.close();
    $("file-name").textContent = item.name;
    $("file-name").title = item.file ? `${item.name} · ${bytes(item.file.size)}` : item.name;
    this.#listening.open(item);
    this.#show(item);
  }

  /** @param {Shown} item @param {Change} what has changed of it */
  update(item, what) {
    if (item !== this.item) return;
    if (what === "progress") return this.#showProgress(item);
    if (!item.result) this.#listening.reopen();
    if (item.state === "done") this.#listening.finished();
    this.#show(item);
  }

  /** @param {Shown} item */
  #show(item) {
    const { state, result, error } = item;
    $("hero").dataset.mode = MODES[state] ?? "working";
    $("details").dataset.state = state;
    $("details").dataset.kept = String(!item.file);
    $("file-state").dataset.state = TONES[state] ?? "waiting";
    $("cancel-one").hidden = !isOpen(item);
    $("retry-one").hidden = state !== "failed" && state !== "canceled";
    $("again").hidden = state !== "done" || !item.file;
    $("server-said").textContent = error?.message ?? "";
    showAlerts(null);
    $("facts").hidden = $("saved").hidden = !result;
    $("custom").hidden = !result?.taught;
    this.bars.showScores(result ? asRow(result.scores) : null);
    this.#showUtterances(item);
    this.#showProgress(item);
    if (result) this.#showResult(item, result);
    else delete $("face").dataset.emotion;
    if (error) {
      say($("name"), errorKey(error), error);
      say($("name-also"), `${errorKey(error)}.do`, error);
    } else if (state === "canceled") {
      say($("name"), "is.canceled");
      say($("name-also"), "is.canceled.do");
    }
  }

  /** @param {Shown} item */
  #showProgress(item) {
    const [key, values] = stateText(item);
    say($("file-state-text"), item.state === "failed" ? "is.failed" : key, values);
    showSteps(item);
    if (!isOpen(item)) return;
    const scored = item.totalS ? Math.min(1, item.doneS / item.totalS) : 0;
    $("face").style.setProperty("--p", String(item.state === "uploading" ? item.upload : scored));
    const phase = item.state === "working" && item.totalS ? "scoring" : item.state;
    say($("name"), `doing.${phase}`);
    say($("name-also"), `doing.${phase}.do`, { ...values, size: bytes(item.file?.size ?? 0) });
    this.#listening.progressed();
  }

  /** @param {Shown} item @param {Recognition} result */
  #showResult(item, result) {
    showFeeling(feelingOf(asRow(result.scores)));
    showAlerts(result.alerts ?? null);
    const speechMs = (result.utterances ?? []).reduce(
      (sum, { start_ms: start, end_ms: end }) => sum + end - start,
      0,
    );
    say($("fact-length"), "{length}", { length: () => length(result.duration_s) });
    say($("fact-speech"), "{length}", { length: () => length(speechMs / 1000) });
    $("fact-utterances").textContent = String(result.utterances?.length ?? "–");
    $("fact-model").textContent = result.model;
    if (result.taught) {
      $("custom-name").textContent = result.taught.label;
      $("custom-sure").textContent = percent(result.taught.confidence);
    }
    $("own-page", HTMLAnchorElement).href = `result#${encodeURIComponent(result.id)}`;
    const base = item.name.replace(/\.[^.]+$/, "");
    $("downloads").replaceChildren(
      ...SAVED.flatMap(({ kind, name, ending }) => {
        const path = result.files?.[kind];
        if (!path) return [];
        const note = make("span", { class: "small" });
        say(note, kind === "csv" ? `download.csv.${result.granularity}` : `download.${kind}`);
        const link = make("a", { class: "quiet" }, make("b", {}, name), note);
        this.#saver.link(link, path, `${base}.${ending}`, kind === "audio");
        return [make("li", {}, link)];
      }),
    );
  }

  /** @param {Shown} item */
  #showUtterances({ result }) {
    const all = result?.utterances ?? [];
    this.#utterances.show(all);
    $("utterance-count").textContent = result ? String(all.length) : "";
    $("utterances-empty").hidden = all.length > 0;
    say($("utterances-empty"), result ? "utterances.none" : "utterances.later");
  }

  /** After the language changed: titles and what the player says are no texts of their own. */
  retitle() {
    if (this.item) this.#showUtterances(this.item);
  }
}

/** What alert rules have told of the recording: the first alert of each; null: they have not been asked.
 *  @param {Recognition["alerts"] | null} alerts */
function showAlerts(alerts) {
  /** @type {Map<string, NonNullable<Recognition["alerts"]>[number]>} */
  const first = new Map();
  for (const alert of alerts ?? []) {
    if (alert.state !== "cleared" && !first.has(alert.rule)) first.set(alert.rule, alert);
  }
  const rows = [...first.values()].map((alert) => {
    const row = make("li", { class: "chip", "data-state": alert.level === "info" ? "waiting" : "bad" });
    say(row, "alert.message", messageOf(alert));
    return row;
  });
  const none = () => make("li", { class: "chip", "data-state": "yes", "data-t": "alert.none" });
  $("told").hidden = !alerts;
  $("told").replaceChildren(...(rows.length || !alerts ? rows : [none()]));
}
