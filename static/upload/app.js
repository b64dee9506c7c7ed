/* The page of files: takes them, sends them through the queue, shows them as a table and one of them in full. */

import { recognise } from "../../client/emotion-stream.js";
import { addWords, currentLanguage, names, percent, say, speak, toggleLanguage } from "../shared/text.js";
import { $, clearNotice, notify, notifyError } from "../shared/parts.js";
import { watchStatus } from "../shared/status.js";
import { askToken, keptToken } from "../shared/token.js";
import { tableCsv } from "./csv.js";
import { able, Details } from "./details.js";
import { takeFiles } from "./intake.js";
import { isOpen, Queue, ROOM } from "./queue.js";
import { makeSaver, save } from "./saving.js";
import { FrameStore } from "./store.js";
import { Table } from "./table.js";
import { bytes } from "./time.js";
import { WORDS } from "./words.js";

addWords(WORDS);

const saver = makeSaver(keptToken, onProblem);
const store = new FrameStore();
const queue = new Queue({ recognise, token: keptToken, there, onChange, onPause });
const table = new Table({
  onOpen: select,
  onCancel: (item) => queue.cancel(item),
  onRetry: (item) => queue.again(item),
  onRemove: remove,
});
const details = new Details({
  saver,
  store,
  onProblem,
  acts: {
    onCancel: (item) => queue.cancel(item),
    onRetry: (item) => queue.again(item),
    onAgain: (item) => queue.again(item, settings()),
    onDelete: deleteResult,
  },
});
const status = watchStatus(keptToken, onStatus, onNoStatus);
takeFiles(add);

// -- files -----------------------------------------------------------------------------------------

function settings() {
  const chosen = new FormData($("options"));
  return { granularity: chosen.get("granularity"), embedding: chosen.get("embedding") !== null };
}

function add(files) {
  const items = queue.add(files, settings());
  if (items.length < files.length) notify("room", "warn", "room", "room.do", { n: ROOM });
  if (!items.length) return;
  table.add(items);
  if (!details.item || items.length === 1) select(items[0]);
  showQueue();
  if (queue.paused) onPause(queue.paused);
}

function select(item) {
  details.open(item);
  table.select(item);
}

function remove(item) {
  if (details.item === item) select(beside(item));
  queue.remove(item);
  table.remove(item);
  store.forget(item);
  showQueue();
}

function beside(item) {
  const shown = table.ordered();
  return shown[shown.indexOf(item) + 1] ?? shown[shown.indexOf(item) - 1] ?? null;
}

function clear() {
  select(null); // first, or each of them would be opened in turn
  [...queue.items].forEach(remove);
}

async function deleteResult(item) {
  try {
    await saver.get(`api/v1/results/${encodeURIComponent(item.result.id)}`, { method: "DELETE" });
  } catch (problem) {
    if (problem.code !== "NOT_FOUND") return onProblem(problem);
  }
  notify("deleted", "info", "deleted", null, { name: item.name });
  remove(item);
}

function onChange(item, what) {
  if (what === "state") {
    if (item.state === "done") store.take(item);
    if (item.state === "waiting" || item.state === "uploading") store.forget(item);
    showQueue();
    announce(item);
  }
  table.update(item, what);
  details.update(item, what);
}

function announce({ state, name, result, error }) {
  if (state === "done") {
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

function showQueue() {
  const { items } = queue;
  const count = (...states) => items.filter(({ state }) => states.includes(state)).length;
  const failed = count("failed", "cancelled");
  $("queue").hidden = items.length < 2;
  say($("queue-count"), failed ? "queue.count.failed" : "queue.count", {
    done: count("done"),
    all: items.length,
    failed,
  });
  $("cancel-all").hidden = !items.some(isOpen);
  $("retry-failed").hidden = failed === 0;
  $("clear").hidden = items.some(isOpen);
  $("save-table").disabled = count("done", "failed") === 0;
}

// -- the server ------------------------------------------------------------------------------------

async function there() {
  try {
    await fetch("healthz", { cache: "no-store" });
    return true;
  } catch {
    return false;
  }
}

function onStatus({ ready, can_say: canSay, limits }) {
  showConnection(ready ? "online" : "loading");
  if (canSay) able(details.bars, canSay);
  if (limits) say($("drop-note"), "drop.most", { size: bytes(limits.upload_bytes) });
  queue.mostBytes = limits?.upload_bytes ?? Infinity;
  clearNotice("AWAY");
  if (ready) clearNotice("NOT_READY");
  if (ready || queue.paused === "AWAY") queue.resume();
}

function onNoStatus(httpStatus) {
  showConnection(httpStatus === 401 ? "unauthorized" : "offline");
  if (httpStatus === 401) askToken(useToken);
}

function showConnection(state) {
  $("connection").dataset.state = state;
  say($("state"), state === "online" ? "state.ready" : `state.${state}`);
}

function onPause(code) {
  for (const why of ["UNAUTHORIZED", "NOT_READY", "AWAY"]) if (why !== code) clearNotice(why);
  if (!code) return;
  if (code === "UNAUTHORIZED") {
    showConnection("unauthorized");
    notifyError({ code }, "warn", { text: "token.enter", run: () => askToken(useToken) });
    return askToken(useToken);
  }
  showConnection(code === "AWAY" ? "offline" : "loading");
  notifyError({ code }, "warn");
  status.now();
}

function useToken() {
  clearNotice("UNAUTHORIZED");
  status.now();
  queue.resume();
}

function onProblem(problem) {
  if (problem.name === "AbortError") return;
  notifyError(problem.code ? problem : { code: "INTERNAL", message: String(problem) });
}

// -- the page --------------------------------------------------------------------------------------

$("retry-failed").onclick = () => queue.retryFailed();
$("cancel-all").onclick = () => queue.cancelAll();
$("clear").onclick = clear;
$("save-table").onclick = () =>
  save(new Blob([tableCsv(table.ordered())], { type: "text/csv;charset=utf-8" }), "emotions.csv");
$("language").onclick = () => {
  toggleLanguage();
  details.retitle();
};
addEventListener("beforeunload", (event) => queue.items.some(isOpen) && event.preventDefault());
addEventListener("online", () => status.now());
setInterval(
  () => queue.items.filter(({ state }) => state === "held").forEach((item) => onChange(item, "progress")),
  1000,
);
speak(currentLanguage());
status.now();
