/* The log of what was done with a file, step by step with its time; while it is under way, what comes next. */

import { bytes, took } from "../listen/time.js";
import { $, make } from "../shared/parts.js";
import { percent, say } from "../shared/text.js";

/** @import { Step } from "../../client/emotion-stream.js" */
/** @import { Shown } from "./queue.js" */
/** @typedef {Partial<Step>} Done */

const STEPS = ["receive", "decode", "resample", "detect_speech", "score", "save"];
const TOGETHER = new Set(STEPS.slice(1, 5)); // piece by piece: the server tells of them when all is done

/** What a waiting, working or finished item looks like.
 *  @param {Shown} item */
export function showSteps(item) {
  const byName = new Map(item.steps.map((step) => [step.step, step]));
  const others = [...byName.keys()].filter((name) => !STEPS.includes(name));
  /** @type {{name: string, done?: Done}[]} */
  const rows = [
    { name: "upload", done: item.uploadedAt ? { ms: item.uploadedAt - (item.begunAt ?? 0) } : undefined },
    ...[...STEPS, ...others].map((name) => ({ name, done: byName.get(name) })),
  ];
  const under = item.state === "uploading" || item.state === "working";
  const next = under ? rows.find(({ done }) => !done)?.name : undefined;
  const now = (/** @type {string} */ name) =>
    name === next || (next !== undefined && TOGETHER.has(name) && TOGETHER.has(next));
  $("steps").replaceChildren(
    ...rows.map(({ name, done }) =>
      row(name, done, stateOf(item, done, now(name)), now(name) ? partOf(item, name) : ""),
    ),
  );
  const total = item.endedAt && item.state === "done" ? item.endedAt - (item.begunAt ?? 0) : null;
  if (total === null) delete $("steps-total").dataset.t;
  $("steps-total").textContent = "";
  if (total !== null) say($("steps-total"), "{took}", { took: () => took(total) });
}

/** @param {Shown} item @param {Done | undefined} done @param {boolean} now */
function stateOf(item, done, now) {
  if (done) return "done";
  if (now) return "now";
  return item.state === "failed" || item.state === "canceled" ? "never" : "next";
}

/** @param {Shown} item @param {string} name */
function partOf(item, name) {
  if (name === "upload") return percent(item.upload);
  return name === "score" && item.totalS ? percent(Math.min(1, item.doneS / item.totalS)) : "";
}

/** @param {string} name @param {Done | undefined} done @param {string} state @param {string} part */
function row(name, done, state, part) {
  const what = make("b");
  say(what, `step.${name}`);
  const time = make("span", { class: "value" });
  const ms = done?.ms;
  if (ms !== undefined) say(time, "{took}", { took: () => took(ms) });
  else time.textContent = part;
  return make(
    "li",
    { "data-state": state },
    what,
    make("span", { class: "small", title: done?.detail ?? "" }, detail(name, done)),
    time,
  );
}

/** @param {string} name @param {Done | undefined} done */
function detail(name, done) {
  const size = name === "receive" && /^(\d+) (?:bytes|字节)$/.exec(done?.detail ?? "");
  return size ? bytes(Number(size[1])) : (done?.detail ?? "");
}
