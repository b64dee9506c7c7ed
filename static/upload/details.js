/* One file: what was found in it, what was done with it, what can be saved of it. */

import { LABELS, asRow } from "../shared/emotions.js";
import { $, buildBars, make, showEmotion } from "../shared/parts.js";
import { names, percent, say } from "../shared/text.js";
import { Listening } from "./listen.js";
import { isOpen } from "./queue.js";
import { errorKey, stateText } from "./states.js";
import { showSteps } from "./steps.js";
import { bytes, length } from "./time.js";
import { Utterances } from "./utterances.js";

const TONES = {
  done: "yes",
  failed: "bad",
  cancelled: "no",
  uploading: "busy",
  working: "busy",
  held: "warn",
};
const SAVED = [
  ["result", "result.json"],
  ["csv", "csv"],
  ["audio", "16k.wav"],
  ["embedding", "embedding.npy"],
];

export class Details {
  /** `acts`: onCancel, onRetry, onAgain, onDelete, each with the item. `saver`, `store`: see there. */
  constructor({ saver, store, acts, onProblem }) {
    this.saver = saver;
    this.item = null;
    this.bars = buildBars($("bars"));
    this.listening = new Listening({
      get: saver.get,
      store,
      onProblem,
      onTime: (seconds, playing) => this.utterances?.mark(seconds, playing),
    });
    this.utterances = new Utterances((utterance) => this.listening.playSpan(utterance));
    $("cancel-one").onclick = () => acts.onCancel(this.item);
    $("retry-one").onclick = () => acts.onRetry(this.item);
    $("again").onclick = () => acts.onAgain(this.item);
    $("delete").onclick = () => acts.onDelete(this.item);
  }

  /** null closes. */
  open(item) {
    if (item === this.item) return;
    this.item = item;
    $("details").hidden = !item;
    if (!item) return this.listening.player.load(undefined);
    $("file-name").textContent = item.name;
    $("file-name").title = `${item.name} · ${bytes(item.file.size)}`;
    this.listening.open(item);
    this.show();
  }

  update(item, what) {
    if (item !== this.item) return;
    if (what === "progress") return this.showProgress();
    if (!item.result && this.listening.told) this.listening.open(item); // it begins anew
    if (item.state === "done") this.listening.finished();
    this.show();
  }

  show() {
    const { item } = this;
    const { state, result, error } = item;
    $("hero").dataset.mode =
      { done: "emotion", failed: "failed", cancelled: "cancelled" }[state] ?? "working";
    $("details").dataset.state = state;
    $("file-state").dataset.state = TONES[state] ?? "waiting";
    $("cancel-one").hidden = !isOpen(item);
    $("retry-one").hidden = state !== "failed" && state !== "cancelled";
    $("again").hidden = state !== "done";
    $("server-said").textContent = error?.message ?? "";
    $("also").textContent = "";
    delete $("also").dataset.t;
    $("facts").hidden = $("saved").hidden = !result;
    $("taught").hidden = !result?.taught;
    this.bars.showScores(result ? asRow(result.scores) : null);
    this.showUtterances();
    this.showProgress();
    if (result) this.showResult(result);
    else delete $("face").dataset.emotion;
    if (error) {
      say($("name"), errorKey(error), error);
      say($("name-also"), `${errorKey(error)}.do`, error);
    } else if (state === "cancelled") {
      say($("name"), "is.cancelled");
      say($("name-also"), "is.cancelled.do");
    }
  }

  showProgress() {
    const { item } = this;
    const [key, values] = stateText(item);
    say($("file-state").firstElementChild, item.state === "failed" ? "is.failed" : key, values);
    showSteps(item);
    if (!isOpen(item)) return;
    const scored = item.totalS ? Math.min(1, item.doneS / item.totalS) : 0;
    $("face").style.setProperty("--p", item.state === "uploading" ? item.upload : scored);
    const phase = item.state === "working" && item.totalS ? "scoring" : item.state;
    say($("name"), `doing.${phase}`);
    say($("name-also"), `doing.${phase}.do`, { ...values, size: bytes(item.file.size) });
    this.listening.progressed();
  }

  showResult(result) {
    showEmotion(result.emotion, result.confidence);
    if (result.ambiguous)
      say($("also"), "ambiguous", { other: () => names(second(asRow(result.scores)))[0] });
    const speechMs = (result.utterances ?? []).reduce(
      (sum, { start_ms: start, end_ms: end }) => sum + end - start,
      0,
    );
    say($("fact-length"), "{length}", { length: () => length(result.duration_s) });
    say($("fact-speech"), "{length}", { length: () => length(speechMs / 1000) });
    $("fact-utterances").textContent = result.utterances?.length ?? "–";
    $("fact-model").textContent = result.model;
    if (result.taught) {
      $("taught-name").textContent = result.taught.label;
      $("taught-sure").textContent = percent(result.taught.confidence);
    }
    const base = this.item.name.replace(/\.[^.]+$/, "");
    $("downloads").replaceChildren(
      ...SAVED.filter(([kind]) => result.files?.[kind]).map(([kind, ending]) => {
        const link = make("a", { class: "quiet" });
        const what = make(
          "b",
          {},
          { result: "result.json", csv: "CSV", audio: "processed_audio.wav", embedding: "embedding.npy" }[
            kind
          ],
        );
        const note = make("span", { class: "small" });
        say(note, kind === "csv" ? `download.csv.${result.granularity}` : `download.${kind}`);
        link.append(what, note);
        this.saver.link(link, result.files[kind], `${base}.${ending}`, kind === "audio");
        return make("li", {}, link);
      }),
    );
  }

  showUtterances() {
    const { result } = this.item;
    const all = result?.utterances ?? [];
    this.utterances.show(all);
    $("utterance-count").textContent = result ? all.length : "";
    $("utterances-empty").hidden = all.length > 0;
    say($("utterances-empty"), result ? "utterances.none" : "utterances.later");
  }

  /** After the language changed: titles and what the player says are no texts of their own. */
  retitle() {
    if (this.item) this.showUtterances();
  }
}

/** The second likeliest label. */
function second(row) {
  return LABELS[row.indexOf([...row].sort((a, b) => b - a)[1])];
}

export function able(bars, canSay) {
  bars.showAble(canSay);
  $("unable").hidden = canSay.length === LABELS.length;
}
