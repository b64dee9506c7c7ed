/* The list of utterances, the newest first, and the summary at the end. */

import { EMOTIONS, asRow } from "../shared/emotions.js";
import { feelingOf } from "../shared/feeling.js";
import { clock } from "./chart.js";
import { messageOf, percent, say, seconds } from "../shared/text.js";
import { $, bothNames, facesOf, make, namesOf, stackOf } from "../shared/parts.js";

/** @import { Alert, Utterance } from "../../client/emotion-stream.js" */
/** @import { Totals } from "./totals.js" */

const KEPT = 200; // rows on the page

export function clearUtterances() {
  $("utterances").replaceChildren();
  $("utterances").hidden = true;
  $("utterances-empty").hidden = false;
  $("utterance-count").textContent = "";
  $("announce").textContent = "";
}

/** `startMs`: since start was pressed. `count`: of utterances so far. Where the operator has labels of their
 *  own, what these say stands beside the emotion.
 *  @param {Utterance} utterance @param {number} startMs @param {number} count */
export function addUtterance(utterance, startMs, count) {
  const { emotion, confidence, scores, taught: custom, start_ms: start, end_ms: end } = utterance;
  const feeling = feelingOf(asRow(scores));
  const what = namesOf(feeling);
  if (custom) what.append(make("span", { class: "custom" }, `${custom.label} ${percent(custom.confidence)}`));
  const duration = seconds(end - start);
  const long = make("span", { class: "long" });
  say(long, "duration", { s: duration });
  $("utterances").prepend(
    make(
      "li",
      { "data-emotion": emotion, "data-sure": feeling.sure },
      make("span", { class: "when" }, clock(startMs / 1000)),
      make("span", { class: "emoji", "aria-hidden": "true" }, facesOf(feeling)),
      what,
      stackOf(asRow(scores), "div"),
      long,
      make("span", { class: "value" }, percent(confidence)),
    ),
  );
  if ($("utterances").children.length > KEPT) $("utterances").lastElementChild?.remove();
  $("utterances").hidden = false;
  $("utterances-empty").hidden = true;
  $("utterance-count").textContent = String(count);
  say($("announce"), "utterance.said", {
    emotion: () => what.textContent,
    confidence: percent(confidence),
    duration,
  });
}

/** An alert has its row too: what was shown of it meanwhile goes when it is cleared.
 *  @param {Alert} alert @param {string} time */
export function addAlert(alert, time) {
  const what = make("span", { class: "names" });
  say(what, "row.alert", messageOf(alert));
  const when = make("span", { class: "when" }, time);
  const sign = make("span", { class: "emoji", "aria-hidden": "true" }, "⚠");
  $("utterances").prepend(make("li", { class: "alert", "data-level": alert.level }, when, sign, what));
  $("utterances").hidden = false;
  $("utterances-empty").hidden = true;
}

export function hideSummary() {
  $("summary").hidden = true;
}

/** null: there is none.
 *  @param {Totals | null} totals */
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
  $("summary-stack").append(...stackOf(asRow(share), "div").children);
  const likeliest = EMOTIONS.filter(({ label }) => share[label] >= 0.005).sort(
    (a, b) => share[b.label] - share[a.label],
  );
  for (const { label, emoji } of likeliest) {
    const value = make("span", { class: "value" }, percent(share[label]));
    const face = make("span", { class: "emoji" }, emoji);
    $("summary-share").append(make("li", { "data-emotion": label }, face, " ", bothNames(label), value));
  }
}
