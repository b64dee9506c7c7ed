/* What came of a run, once it is over: the whole session as a chart that can be zoomed into and heard, its
   utterances, its alerts, and what can be saved of it. The sound never leaves this tab. */

import { Listening } from "../listen/listening.js";
import { FrameStore } from "../listen/store.js";
import { Utterances } from "../listen/utterances.js";
import { openInFiles } from "../shared/handover.js";
import { $, make, notifyError } from "../shared/parts.js";
import { save } from "../shared/saving.js";
import { messageOf, say } from "../shared/text.js";
import { clock } from "./chart.js";
import { HEARD_MIN } from "./whole.js";

/** @import { Recording } from "../listen/store.js" */
/** @import { RunRecord } from "./record.js" */
/** @import { Totals } from "./totals.js" */
/** @import { Whole } from "./whole.js" */

const LEAD_MS = 1_000; // an alert is heard from a little earlier on, and for as long after it
const HEARD_MS = 4_000;

export class Result {
  #store = new FrameStore();
  /** @type {Recording | null} */
  #shown = null;
  #list = new Utterances($("heard"), (utterance) => this.#listening.playSpan(utterance));
  #listening = new Listening({
    get: async () => new Response(this.#shown?.file),
    store: this.#store,
    onProblem: (problem) => notifyError({ code: "INTERNAL", message: String(problem) }),
    onTime: (seconds, playing) => this.#list.mark(seconds, playing),
  });

  /** @param {{record: RunRecord, whole: Whole, totals: Totals, model: string}} run */
  show({ record, whole, totals, model }) {
    const name = `${record.name}.wav`;
    const file = whole.wav(name);
    const { alerts, utterances } = record;
    /** @type {Recording} */
    const item = {
      name: record.name,
      file,
      doneS: Infinity,
      result: {
        granularity: "frame",
        duration_s: totals.audioMs / 1000,
        scores: totals.share,
        utterances,
        alerts,
        files: { result: "", audio: name },
        ...whole.frames,
      },
    };
    this.#store.take(item);
    this.#shown = item;
    this.#swap(true);
    this.#listening.open(item);
    this.#list.show(utterances);
    say($("again-note"), "again.note", { n: HEARD_MIN });
    this.#showAlerts(alerts);
    const give = (/** @type {string} */ ending, /** @type {string} */ type, /** @type {string} */ text) =>
      save(new Blob([text], { type }), `${record.name}.${ending}`);
    $("save-csv").onclick = () => give("csv", "text/csv", record.csv());
    $("save-json").onclick = () => give("json", "application/json", record.json(model, totals));
    $("save-wav").onclick = () => save(file, name);
    $("open-in-files").onclick = () => openInFiles(file);
  }

  hide() {
    this.#listening.close();
    if (this.#shown) this.#store.forget(this.#shown);
    this.#shown = null;
    this.#swap(false);
  }

  /** @param {boolean} over */
  #swap(over) {
    for (const id of ["saves", "again-note"]) $(id).hidden = !over;
    for (const id of ["minute", "clock"]) $(id).hidden = over;
    if (over) $("utterances").hidden = true;
    else for (const id of ["chart", "heard", "raised"]) $(id).hidden = true;
  }

  /** @param {RunRecord["alerts"]} raised */
  #showAlerts(raised) {
    $("raised").hidden = !raised.length;
    const rows = raised.map(({ at_ms: at, level, ...said }) => {
      const what = make("span", { class: "names" });
      say(what, "row.alert", messageOf(said));
      const when = make("span", { class: "when" }, clock(Math.floor(at / 1000)));
      const button = make("button", { type: "button", class: "quiet" }, when, what);
      button.onclick = () =>
        this.#listening.playSpan({ start_ms: Math.max(0, at - LEAD_MS), end_ms: at + HEARD_MS });
      return make("li", { "data-level": level }, button);
    });
    $("raised-list").replaceChildren(...rows);
  }
}
