/* One result that the server keeps, on a page of its own: result#ID. */

import { EmotionError } from "../../client/emotion-stream.js";
import { makeSaver } from "../listen/saver.js";
import { FrameStore } from "../listen/store.js";
import { clearNotices, notify } from "../shared/parts.js";
import { onLanguage } from "../shared/text.js";
import { askToken, keptToken } from "../shared/token.js";
import { Details } from "./details.js";
import { pathOf, showProblem, showServer } from "./server.js";

/** @import { Recognition } from "../../client/emotion-stream.js" */
/** @import { Status } from "../shared/status.js" */
/** @import { Shown } from "./queue.js" */

export class Kept {
  #askStatus = () => {};
  #saver = makeSaver(keptToken, showProblem);
  #store = new FrameStore();
  /** @type {Details<Shown>} */
  #details = new Details({
    saver: this.#saver,
    store: this.#store,
    onProblem: showProblem,
    acts: { onDelete: (item) => this.#remove(item) },
  });

  /** `askStatus()` asks for the state of the server now.
   *  @param {{askStatus: () => void}} hooks */
  start({ askStatus }) {
    this.#askStatus = askStatus;
    onLanguage(() => this.#details.retitle());
    addEventListener("hashchange", () => this.#load());
    askStatus();
    this.#load();
  }

  async #load() {
    const id = location.hash.slice(1);
    clearNotices();
    this.#details.open(null);
    /** @type {Recognition} */
    let result;
    try {
      result = await (await this.#saver.get(pathOf(id))).json();
    } catch (problem) {
      if (!(problem instanceof EmotionError && problem.code === "UNAUTHORIZED")) return showProblem(problem);
      return askToken(() => {
        this.#askStatus();
        this.#load();
      });
    }
    if (id !== location.hash.slice(1)) return; // another one meanwhile
    if (!result.scores) return notify("older", "warn", "kept.older", "kept.older.do");
    const name = result.file_name ?? result.id;
    /** @type {Shown} */
    const item = { name, result, state: "done", upload: 1, doneS: 0, totalS: 0, steps: [], error: null };
    this.#store.take(item);
    this.#details.open(item);
  }

  /** @param {Shown} item */
  async #remove(item) {
    if (!item.result) return;
    try {
      await this.#saver.remove(pathOf(item.result.id));
    } catch (problem) {
      return showProblem(problem);
    }
    this.#details.open(null);
    notify("deleted", "warn", "deleted", null, { name: item.name }); // it stays: nothing else is on the page
  }

  // -- the server ----------------------------------------------------------------------------------

  /** @param {Status} status */
  onStatus({ ready, supported_labels: labels }) {
    showServer(ready ? "online" : "loading");
    if (labels) this.#details.bars.showSupported(labels);
  }

  /** @param {number} httpStatus */
  onNoStatus(httpStatus) {
    showServer(httpStatus === 401 ? "unauthorized" : "offline");
  }
}
