/* The list of utterances, the newest first, and the summary at the end. */

import { EMOTIONS, LABELS, asRow, emotionOf } from "../shared/emotions.js";
import { clock } from "./chart.js";
import { names, percent, say, seconds } from "../shared/text.js";
import { $, bothNames, make } from "../shared/parts.js";

const KEPT = 200; // rows on the page

export function clearUtterances() {
  $("utterances").replaceChildren();
  $("utterances").hidden = true;
  $("utterances-empty").hidden = false;
  $("utterance-count").textContent = "";
  $("announce").textContent = "";
}

/** `startMs`: since start was pressed. `taught`: what labels of the operator's own say, where there are some. */
export function addUtterance({ startMs, durationMs, emotion, confidence, scores, taught, count }) {
  const said = bothNames(emotion);
  if (taught) said.append(make("span", { class: "taught" }, `${taught.label} ${percent(taught.confidence)}`));
  const long = make("span", { class: "long" });
  say(long, "duration", { s: seconds(durationMs) });
  $("utterances").prepend(
    make(
      "li",
      { "data-emotion": emotion },
      make("span", { class: "when" }, clock(startMs / 1000)),
      make("span", { class: "emoji", "aria-hidden": "true" }, emotionOf(emotion).emoji),
      said,
      stack(asRow(scores)),
      long,
      make("span", { class: "value" }, percent(confidence)),
    ),
  );
  if ($("utterances").children.length > KEPT) $("utterances").lastElementChild.remove();
  $("utterances").hidden = false;
  $("utterances-empty").hidden = true;
  $("utterance-count").textContent = count;
  say($("announce"), "utterance.said", {
    emotion: () => names(emotion).join(" "),
    confidence: percent(confidence),
    duration: seconds(durationMs),
  });
}

export function hideSummary() {
  $("summary").hidden = true;
}

/** `totals`: {audioMs, speechMs, lostMs, utterances, share: {label: fraction}}; null if there is none. */
export function showSummary(totals) {
  $("summary").hidden = false;
  $("summary-stack").replaceChildren();
  $("summary-share").replaceChildren();
  $("summary-lost").textContent = "";
  delete $("summary-lost").dataset.t;
  if (!totals) return say($("summary-text"), "summary.away");
  if (totals.speechMs === 0) return say($("summary-text"), "summary.none");
  const { audioMs, speechMs, lostMs, utterances, share } = totals;
  say($("summary-text"), "summary.text", { utterances, audio: seconds(audioMs), speech: seconds(speechMs) });
  if (lostMs > 0) say($("summary-lost"), "summary.lost", { lost: seconds(lostMs) });
  $("summary-stack").append(...stack(asRow(share)).children);
  const heard = EMOTIONS.filter(({ label }) => share[label] >= 0.005).sort(
    (a, b) => share[b.label] - share[a.label],
  );
  for (const { label, emoji } of heard) {
    const value = make("span", { class: "value" }, percent(share[label]));
    $("summary-share").append(make("li", { "data-emotion": label }, `${emoji} `, bothNames(label), value));
  }
}

function stack(row) {
  const bar = make("div", { class: "stack", "aria-hidden": "true" });
  row.forEach((p, i) => {
    const part = make("i", { "data-emotion": LABELS[i] });
    part.style.setProperty("--p", p);
    bar.append(part);
  });
  return bar;
}
