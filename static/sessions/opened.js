/* One recorded session: when, who, how it went over time, what was said in which mood, its alerts, its files. */

import { Listening } from "../listen/listening.js";
import { FrameStore } from "../listen/store.js";
import { clockOf } from "../listen/time.js";
import { Utterances } from "../listen/utterances.js";
import { EMOTIONS, asRow } from "../shared/emotions.js";
import { $, bothNames, make, stackOf } from "../shared/parts.js";
import { currentLanguage, messageOf, percent, say } from "../shared/text.js";
import { nameOf } from "./records.js";

/** @import { Alert, Utterance } from "../../client/emotion-stream.js" */
/** @import { makeSaver } from "../listen/saver.js" */
/** @import { Recording } from "../listen/store.js" */
/** @import { Head } from "./records.js" */
/** What record.json has of it.
 *  @typedef {{start_ms: number, channel?: string, scores: Record<string, number>}} Bin
 *  @typedef {{timeline: Bin[], utterances: (Utterance & {channel?: string})[],
 *             alerts: (Alert & {channel?: string})[]}} Saved */

const BIN_MS = 500;
const SURE_MS = 4_000; // how long a second press is a second press

export class Opened {
  #saver;
  #hooks;
  #store = new FrameStore();
  /** @type {Head | null} */
  #head = null;
  /** @type {Saved | null} */
  #record = null;
  #list = new Utterances($("utterances"), (utterance) => this.#listening.playSpan(utterance));
  #listening;

  /** @param {ReturnType<typeof makeSaver>} saver
   *  @param {{onProblem: (problem: unknown) => void, onDelete: (head: Head) => void}} hooks */
  constructor(saver, hooks) {
    this.#saver = saver;
    this.#hooks = hooks;
    this.#listening = new Listening({
      get: saver.get,
      store: this.#store,
      onProblem: hooks.onProblem,
      onTime: (seconds, playing) => this.#list.mark(seconds, playing),
    });
    $("channel").onchange = () => this.#show();
    $("delete").onclick = () => this.#askToDelete();
  }

  /** null closes.
   *  @param {Head | null} head */
  async open(head) {
    if (head?.id === this.#head?.id) return;
    this.#head = head;
    this.#record = null;
    this.#listening.close();
    for (const id of ["opened", "chart", "said"]) $(id).hidden = true;
    if (!head) return;
    this.#showHead(head);
    try {
      const record = await (await this.#saver.get(head.files["record.json"])).json();
      if (this.#head !== head) return;
      this.#record = record;
      this.#show();
    } catch (problem) {
      this.#hooks.onProblem(problem);
    }
  }

  /** @param {Head} head */
  #showHead(head) {
    $("opened").hidden = false;
    $("opened-title").textContent = nameOf(head);
    $("opened-when").textContent = new Date(head.started_utc).toLocaleString(currentLanguage());
    $("cut-off").hidden = head.complete;
    say($("delete"), "delete");
    const tags = Object.entries(head.tags ?? {});
    $("tags").replaceChildren(...tags.map(([tag, value]) => make("li", {}, `${tag}: ${value}`)));
    const share = head.share ?? {};
    $("opened-stack").replaceChildren(...stackOf(asRow(share), "div").children);
    const known = EMOTIONS.filter(({ label }) => share[label] >= 0.005);
    $("opened-share").replaceChildren(
      ...known.map(({ label }) => {
        const value = make("span", { class: "value" }, percent(share[label]));
        return make("li", { "data-emotion": label }, bothNames(label), value);
      }),
    );
    const links = Object.entries(head.files).map(([name, path]) => {
      const link = make("a", {}, name);
      this.#saver.link(link, path, `${nameOf(head)}_${name}`, name.endsWith(".wav"));
      return link;
    });
    $("downloads").replaceChildren(...links);
    const channels = Object.keys(head.by_channel ?? {});
    $("channel-label").hidden = channels.length < 2;
    $("channel").replaceChildren(...channels.map((name) => make("option", { value: name }, name)));
  }

  #show() {
    const [head, record] = [this.#head, this.#record];
    if (!head || !record) return;
    const channel = $("channel", HTMLSelectElement).value || undefined;
    const mine = (/** @type {{channel?: string}} */ of) => !channel || !of.channel || of.channel === channel;
    const timeline = record.timeline.filter(mine);
    const utterances = record.utterances.filter(mine);
    const alerts = record.alerts.filter((alert) => mine(alert) && alert.state !== "cleared");
    const audio = head.files[channel ? `audio_${channel}.wav` : "audio.wav"] ?? "";
    /** @type {Recording} */
    const item = {
      name: nameOf(head),
      doneS: Infinity,
      result: {
        granularity: "frame",
        duration_s: (head.audio_ms ?? (timeline.at(-1)?.start_ms ?? 0) + BIN_MS) / 1000,
        scores: head.share ?? {},
        utterances,
        alerts,
        files: { audio, result: "" },
        frame_scores: timeline.map(({ scores }) => asRow(scores)),
        frame_start_ms: timeline.map(({ start_ms: start }) => start),
        step_ms: BIN_MS,
      },
    };
    this.#store.take(item);
    this.#listening.open(item);
    $("said").hidden = false;
    this.#list.show(utterances);
    if (audio) $("utterance-count").textContent = String(utterances.length);
    else say($("utterance-count"), "again.silent");
    const rows = alerts.map((alert) => {
      const row = make("li", { "data-level": alert.level });
      say(row, "row.alert", { time: clockOf(alert.at_ms / 1000), ...messageOf(alert) });
      return row;
    });
    $("alerts").replaceChildren(...rows);
  }

  /** What cannot be had back takes two presses. */
  #askToDelete() {
    const button = $("delete");
    if (button.dataset.t === "delete.sure") return this.#head && this.#hooks.onDelete(this.#head);
    say(button, "delete.sure");
    setTimeout(() => say(button, "delete"), SURE_MS);
  }
}
