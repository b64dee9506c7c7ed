/* Takes files, sends them through the queue, shows them as a table and one of them in full. */

import { recognize } from "../../client/emotion-stream.js";
import { makeSaver } from "../listen/saver.js";
import { FrameStore } from "../listen/store.js";
import { bytes } from "../listen/time.js";
import { takeHandedOver } from "../shared/handover.js";
import { $, clearNotice, notify, notifyError } from "../shared/parts.js";
import { currentLanguage, names, onLanguage, percent, say } from "../shared/text.js";
import { askToken, keptToken } from "../shared/token.js";
import { save } from "../shared/saving.js";
import { tableCsv } from "./csv.js";
import { Details } from "./details.js";
import { takeFiles } from "./intake.js";
import { isOpen, Queue, ROOM } from "./queue.js";
import { pathOf, showProblem, showServer } from "./server.js";
import { Table } from "./table.js";

/** @import { Status } from "../shared/status.js" */
/** @import { Change, Item, Settings, State } from "./queue.js" */

const HELD_MS = 1000; // between two looks at how long a file is still held

export class Files {
  #askStatus = () => {};
  #saver = makeSaver(keptToken, showProblem);
  #store = new FrameStore();
  #queue = new Queue({
    recognize: (file, options) => recognize(file, { ...options, language: currentLanguage() }),
    token: keptToken,
    answers,
    onChange: (item, what) => this.#onChange(item, what),
    onPause: (code) => this.#onPause(code),
  });
  #table = new Table({
    onOpen: (item) => this.#select(item),
    onCancel: (item) => this.#queue.cancel(item),
    onRetry: (item) => this.#queue.again(item),
    onRemove: (item) => this.#remove(item),
  });
  /** @type {Details<Item>} */
  #details = new Details({
    saver: this.#saver,
    store: this.#store,
    onProblem: showProblem,
    acts: {
      onCancel: (item) => this.#queue.cancel(item),
      onRetry: (item) => this.#queue.again(item),
      onAgain: (item) => this.#queue.again(item, settings()),
      onDelete: (item) => this.#deleteResult(item),
    },
  });

  /** `askStatus()` asks for the state of the server now.
   *  @param {{askStatus: () => void}} hooks */
  start({ askStatus }) {
    this.#askStatus = askStatus;
    $("intake").hidden = false;
    takeFiles((files) => this.#add(files));
    takeHandedOver((file) => this.#add([file]));
    $("retry-failed").onclick = () => this.#queue.retryFailed();
    $("cancel-all").onclick = () => this.#queue.cancelAll();
    $("clear").onclick = () => this.#clear();
    $("save-table").onclick = () => {
      const csv = new Blob([tableCsv(this.#table.ordered())], { type: "text/csv;charset=utf-8" });
      save(csv, "emotions.csv");
    };
    addEventListener("beforeunload", (event) => this.#queue.items.some(isOpen) && event.preventDefault());
    addEventListener("online", askStatus);
    setInterval(() => {
      const held = this.#queue.items.filter(({ state }) => state === "held");
      held.forEach((item) => this.#onChange(item, "progress"));
    }, HELD_MS);
    onLanguage(() => this.#details.retitle());
    askStatus();
  }

  // -- files ---------------------------------------------------------------------------------------

  /** @param {File[]} files */
  #add(files) {
    const items = this.#queue.add(files, settings());
    if (items.length < files.length) notify("room", "warn", "room", "room.do", { n: ROOM });
    if (!items.length) return;
    this.#table.add(items);
    if (!this.#details.item || items.length === 1) this.#select(items[0]);
    this.#showQueue();
    if (this.#queue.paused) this.#onPause(this.#queue.paused);
  }

  /** @param {Item | null} item */
  #select(item) {
    this.#details.open(item);
    this.#table.select(item);
  }

  /** @param {Item} item */
  #remove(item) {
    if (this.#details.item === item) this.#select(this.#beside(item));
    this.#queue.remove(item);
    this.#table.remove(item);
    this.#store.forget(item);
    this.#showQueue();
  }

  /** @param {Item} item */
  #beside(item) {
    const shown = this.#table.ordered();
    return shown[shown.indexOf(item) + 1] ?? shown[shown.indexOf(item) - 1] ?? null;
  }

  #clear() {
    this.#select(null); // first, or each of them would be opened in turn
    [...this.#queue.items].forEach((item) => this.#remove(item));
  }

  /** @param {Item} item */
  async #deleteResult(item) {
    if (!item.result) return;
    try {
      await this.#saver.remove(pathOf(item.result.id));
    } catch (problem) {
      return showProblem(problem);
    }
    notify("deleted", "info", "deleted", null, { name: item.name });
    this.#remove(item);
  }

  /** @param {Item} item @param {Change} what */
  #onChange(item, what) {
    if (what === "state") {
      if (item.state === "done") this.#store.take(item);
      if (item.state === "waiting" || item.state === "uploading") this.#store.forget(item);
      this.#showQueue();
      announce(item);
    }
    this.#table.update(item, what);
    this.#details.update(item, what);
  }

  #showQueue() {
    const { items } = this.#queue;
    const count = (/** @type {State[]} */ ...states) =>
      items.filter(({ state }) => states.includes(state)).length;
    const failed = count("failed", "canceled");
    $("queue").hidden = items.length < 2;
    say($("queue-count"), failed ? "queue.count.failed" : "queue.count", {
      done: count("done"),
      all: items.length,
      failed,
    });
    $("cancel-all").hidden = !items.some(isOpen);
    $("retry-failed").hidden = failed === 0;
    $("clear").hidden = items.some(isOpen);
    $("save-table", HTMLButtonElement).disabled = count("done", "failed") === 0;
  }

  // -- the server ----------------------------------------------------------------------------------

  /** @param {Status} status */
  onStatus({ ready, supported_labels: labels, limits }) {
    showServer(ready ? "online" : "loading");
    if (labels) this.#details.bars.showSupported(labels);
    say($("drop-note"), "drop.most", { size: bytes(limits.upload_bytes) });
    this.#queue.maxBytes = limits.upload_bytes;
    clearNotice("AWAY");
    if (ready) clearNotice("NOT_READY");
    if (ready || this.#queue.paused === "AWAY") this.#queue.resume();
  }

  /** @param {number} httpStatus */
  onNoStatus(httpStatus) {
    showServer(httpStatus === 401 ? "unauthorized" : "offline");
    if (httpStatus === 401) this.#askToken();
  }

  #askToken() {
    askToken(() => {
      clearNotice("UNAUTHORIZED");
      this.#askStatus();
      this.#queue.resume();
    });
  }

  /** @param {string | null} code why all waits */
  #onPause(code) {
    for (const why of ["UNAUTHORIZED", "NOT_READY", "AWAY"]) if (why !== code) clearNotice(why);
    if (!code) return;
    if (code === "UNAUTHORIZED") {
      showServer("unauthorized");
      notifyError({ code }, "warn", { text: "token.enter", run: () => this.#askToken() });
      return this.#askToken();
    }
    showServer(code === "AWAY" ? "offline" : "loading");
    notifyError({ code }, "warn");
    this.#askStatus();
  }
}

/** @returns {Settings} */
function settings() {
  const chosen = new FormData($("options", HTMLFormElement));
  const granularity = chosen.get("granularity") === "frame" ? "frame" : "utterance";
  return { granularity, embedding: chosen.get("embedding") !== null };
}

/** @param {Item} item */
function announce({ state, name, result, error }) {
  if (state === "done" && result) {
    const values = {
      name,
      emotion: () => names(result.emotion).join(" "),
      confidence: percent(result.confidence),
    };
    say($("announce"), "told.done", values);
  } else if (error) {
    say($("announce"), "told.failed", { name });
  }
}

/** Whether there is anybody at the server's address. */
async function answers() {
  try {
    await fetch("healthz", { cache: "no-store" });
    return true;
  } catch {
    return false;
  }
}
