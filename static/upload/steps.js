/* The log of what was done with a file, step by step with its time; while it is under way, what comes next. */

import { $, make } from "../shared/parts.js";
import { percent, say } from "../shared/text.js";
import { bytes, took } from "./time.js";

const STEPS = ["receive", "decode", "resample", "detect_speech", "score", "save"];
const TOGETHER = new Set(STEPS.slice(1, 5)); // piece by piece: the server tells of them when all is done

/** What a waiting, working or finished item looks like. */
export function showSteps(item) {
  const told = new Map(item.steps.map((step) => [step.step, step]));
  const uploadMs = item.uploadedAt && item.uploadedAt - item.begunAt;
  const rows = [["upload", uploadMs && { ms: uploadMs }], ...STEPS.map((name) => [name, told.get(name)])];
  for (const name of told.keys()) if (!STEPS.includes(name)) rows.push([name, told.get(name)]);
  const under = item.state === "uploading" || item.state === "working";
  const next = under ? rows.find(([, done]) => !done)?.[0] : undefined;
  const now = (name) => name === next || (TOGETHER.has(name) && TOGETHER.has(next));
  $("steps").replaceChildren(
    ...rows.map(([name, done]) =>
      row(name, done, stateOf(item, done, now(name)), now(name) && partOf(item, name)),
    ),
  );
  const total = item.endedAt && item.state === "done" ? item.endedAt - item.begunAt : null;
  if (total === null) delete $("steps-total").dataset.t;
  $("steps-total").textContent = "";
  if (total !== null) say($("steps-total"), "{took}", { took: () => took(total) });
}

function stateOf(item, done, now) {
  if (done) return "done";
  if (now) return "now";
  return item.state === "failed" || item.state === "cancelled" ? "never" : "next";
}

function partOf(item, name) {
  if (name === "upload") return percent(item.upload);
  return name === "score" && item.totalS ? percent(Math.min(1, item.doneS / item.totalS)) : "";
}

function row(name, done, state, part) {
  const what = make("b");
  say(what, `step.${name}`);
  const time = make("span", { class: "value" });
  if (done?.ms !== undefined) say(time, "{took}", { took: () => took(done.ms) });
  else time.textContent = part || "";
  return make(
    "li",
    { "data-state": state },
    what,
    make("span", { class: "small", title: done?.detail ?? "" }, detail(name, done)),
    time,
  );
}

function detail(name, done) {
  const size = name === "receive" && /^(\d+) bytes$/.exec(done?.detail);
  return size ? bytes(Number(size[1])) : (done?.detail ?? "");
}
