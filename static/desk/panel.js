/* The session that is open: who, how they feel now, all of its timeline, alerts and utterances. It is given what
   the server says of it and what its card knows; it asks for nothing. */

import { asRow, LABELS } from "../shared/emotions.js";
import { feelingOf } from "../shared/feeling.js";
import { $, buildGauges, buildLegend, facesOf, make, namesOf, sayFeeling, stackOf } from "../shared/parts.js";
import { messageOf, percent, say, seconds } from "../shared/text.js";
import { clock, showTags, title } from "./cards.js";
import { History } from "./history.js";
import { Plot } from "./plot.js";
import { duration } from "./store.js";

/** @import { Alert, SessionMessage, Utterance } from "./history.js" */
/** @import { View } from "./plot.js" */
/** @import { Channel, Dynamics, Session } from "./store.js" */

const ROWS = 200; // utterances on the page: as many as the server keeps

/** One channel as it is now. */
class ChannelView {
  #watched;
  #emoji = make("span");
  #face = make("div", { class: "face", "aria-hidden": "true" }, this.#emoji);
  #name = make("p", { class: "name" });
  #also = make("p", { class: "name-also" });
  #sure = make("p", { class: "sure" });
  #gauges = make("div", { class: "gauges" });
  #showAffect = buildGauges(this.#gauges);
  #stack = stackOf(
    LABELS.map(() => 0),
    "div",
  );

  /** @param {string} name @param {boolean} watched */
  constructor(name, watched) {
    this.#watched = watched;
    const said = make("div", { class: "said" }, this.#name, this.#also, this.#sure);
    const now = make("div", { class: "now" }, this.#face, said);
    this.element = make("div", { class: "channel", "data-watched": watched }, now, this.#stack, this.#gauges);
    if (name !== "mono") this.element.prepend(make("h3", { "data-t": `card.${name}` }));
  }

  /** Nothing is told of it any more: nobody is shown to be speaking. */
  rest() {
    this.element.dataset.speaking = "false";
  }

  /** @param {Channel} channel @param {number[]} [scores] */
  show({ emotion, confidence, speaking, arousal, valence }, scores) {
    this.element.dataset.speaking = String(speaking);
    if (!this.#watched) {
      this.#emoji.textContent = "🔒";
      say(this.#name, "card.unwatched");
      say(this.#also, "card.unwatched.why");
    } else if (!emotion) {
      this.#emoji.textContent = "…";
      say(this.#name, "card.quiet");
    } else {
      const feeling = feelingOf(scores ?? LABELS.map((label) => (label === emotion ? confidence : 0)));
      this.element.dataset.sure = feeling.sure;
      this.#face.dataset.emotion = emotion;
      this.#face.style.setProperty("--p", String(confidence));
      this.#emoji.textContent = facesOf(feeling);
      sayFeeling(this.#name, feeling, 0);
      sayFeeling(this.#also, feeling, 1);
      this.#sure.textContent = percent(confidence);
      this.#showAffect({ arousal, valence });
      [...this.#stack.children].forEach((part, i) => {
        /** @type {HTMLElement} */ (part).style.setProperty("--p", String(scores?.[i] ?? 0));
      });
    }
  }
}

export class Panel {
  /** @type {string | null} of the session that is open */
  id = null;
  #history = new History();
  /** @type {View} */
  #view = { mode: "whole", range: null };
  /** @type {Plot[]} */
  #plots = [];
  /** @type {Record<string, ChannelView>} */
  #channels = {};
  #newest = { utterances: 0, alerts: 0 }; // their numbers
  #pointed = false; // whether the pointer is on a plot
  #legend = buildLegend($("panel-legend"));

  constructor() {
    for (const mode of /** @type {const} */ (["whole", "recent"])) {
      $(`view-${mode}`).onclick = () => this.#show({ mode, range: null });
    }
  }

  /** Whether the server has told of the session. */
  get loaded() {
    return this.#history.summary !== null;
  }

  /** Begin with a session of which only the id is known.
   *  @param {string} id */
  open(id) {
    this.close();
    this.id = id;
    this.#history = new History();
    this.#view = { mode: "whole", range: null };
    this.#clear();
    $("panel-tags").replaceChildren();
    $("panel-title").textContent = "";
    $("panel").dataset.state = "loading";
    this.note("panel.loading");
    this.#showLists();
  }

  close() {
    this.id = null;
    this.#clear();
  }

  #clear() {
    for (const plot of this.#plots) plot.destroy();
    this.#plots = [];
    this.#channels = {};
    this.#newest = { utterances: 0, alerts: 0 };
    for (const part of ["channels", "plots", "utterances", "alerts"]) $(`panel-${part}`).replaceChildren();
  }

  /** @param {SessionMessage} message */
  update(message) {
    if (this.#history.update(message)) this.#build();
    for (const plot of this.#plots) plot.draw();
    this.#showLists();
    if (!this.#pointed) this.#showPoint(null);
  }

  /** Its channels and their plots. */
  #build() {
    this.#clear();
    const timelines = Object.entries(this.#history.summary?.timelines ?? {});
    $("panel").dataset.channels = String(timelines.length);
    for (const [name, { watched }] of timelines) {
      const view = new ChannelView(name, watched);
      this.#channels[name] = view;
      $("panel-channels").append(view.element);
      if (watched) this.#plots.push(this.#plot(name));
    }
    this.#show(this.#view);
  }

  /** @param {string} name of the channel */
  #plot(name) {
    const host = make("div", { class: "plot", role: "img", "data-t-label": "panel.timeline" });
    const figure = make("figure", {}, host);
    if (name !== "mono") {
      figure.prepend(make("figcaption", { class: "small", "data-t": `card.${name}` }));
    }
    $("panel-plots").append(figure);
    return new Plot(host, name, this.#history, {
      view: () => this.#view,
      onRange: (range) => this.#show({ ...this.#view, range }),
      onPoint: (ms) => this.#showPoint(ms, name),
    });
  }

  /** What the card knows, whenever that has changed, and once a second for the clock.
   *  @param {Session} session @param {number} now
   *  @param {number | null} asOf when the server last told of it, where it tells no more */
  show(session, now, asOf) {
    if (asOf !== null) return this.#rest("old", "panel.old", { time: new Date(asOf).toLocaleTimeString() });
    const { state, alerts, utterances, lost_ms: lost } = session;
    $("panel").dataset.state = state;
    $("panel").dataset.level = alerts.open ?? "none";
    $("panel-title").textContent = title(session);
    showTags($("panel-tags"), session.tags);
    $("panel-time").textContent = clock(duration(session, now));
    say($("panel-since"), "panel.started", { time: new Date(session.started_utc).toLocaleTimeString() });
    say($("panel-state"), state === "live" ? "panel.live" : "panel.ended");
    $("panel-id").textContent = session.session_id;
    $("panel-utterance-count").textContent = utterances ? String(utterances) : "";
    say($("panel-lost"), "duration", { s: seconds(lost) });
    $("panel-lost-cell").dataset.some = String(lost > 0);
    const watched = Object.values(session.timelines).filter((channel) => channel.watched);
    $("panel-speech").textContent = watched.map(({ speech_share: share }) => percent(share)).join(" · ");
    $("panel-negative").textContent = watched.map(({ negative }) => percent(negative)).join(" · ");
    this.#showDynamics(session.dynamics);
    for (const [name, channel] of Object.entries(session.timelines)) {
      this.#channels[name]?.show(channel, this.#history.channels[name]?.scores);
    }
    this.note(state === "ended" ? "panel.ended.note" : null);
  }

  /** How two people share the call, the agent first; null: there are not two.
   *  @param {Dynamics | null} dynamics */
  #showDynamics(dynamics) {
    for (const cell of document.querySelectorAll("#panel [data-of-two]")) {
      /** @type {HTMLElement} */ (cell).hidden = !dynamics;
    }
    if (!dynamics) return;
    const both = Object.values(dynamics.by_channel);
    const reaction = both.map(({ reaction_ms: ms }) => (ms === null ? "–" : seconds(ms))).join(" · ");
    $("panel-talk").textContent = both.map(({ share }) => percent(share)).join(" · ");
    $("panel-interruptions").textContent = both.map(({ interruptions: n }) => String(n)).join(" · ");
    say($("panel-reaction"), "duration", { s: reaction });
    say($("panel-overlap"), "duration", { s: seconds(dynamics.overlap_ms) });
    say($("panel-silence"), "duration", { s: seconds(dynamics.longest_silence_ms) });
  }

  /** It has left the desk. */
  gone() {
    this.#rest("ended", "panel.ended");
    this.note("panel.gone");
  }

  /** There is none of that name. */
  missing() {
    $("panel").dataset.state = "missing";
    this.note("panel.missing");
  }

  /** What was seen stays, and does not claim to be of now.
   *  @param {string} state @param {string} key @param {import("../shared/text.js").Values} [values] */
  #rest(state, key, values) {
    $("panel").dataset.state = state;
    say($("panel-state"), key, values);
    for (const channel of Object.values(this.#channels)) channel.rest();
  }

  /** A line of words instead of news; null: none.
   *  @param {string | null} key */
  note(key) {
    $("panel-note").hidden = key === null;
    if (key) say($("panel-note"), key);
  }

  #showLists() {
    const { utterances, alerts } = this.#history;
    for (const utterance of utterances) {
      if (utterance.n <= this.#newest.utterances) continue;
      $("panel-utterances").prepend(utteranceRow(utterance));
      this.#newest.utterances = utterance.n;
    }
    while ($("panel-utterances").children.length > ROWS) $("panel-utterances").lastElementChild?.remove();
    for (const alert of alerts) {
      if (alert.n <= this.#newest.alerts) continue;
      $("panel-alerts").prepend(alertRow(alert));
      this.#newest.alerts = alert.n;
    }
    $("panel-utterances-none").hidden = utterances.length > 0;
    $("panel-alerts-none").hidden = alerts.length > 0;
  }

  /** @param {View} view */
  #show(view) {
    this.#view = view;
    for (const mode of ["whole", "recent"]) {
      $(`view-${mode}`).setAttribute("aria-pressed", String(!view.range && view.mode === mode));
    }
    for (const plot of this.#plots) plot.draw();
  }

  /** The shares under the pointer, or those of now where there is one channel.
   *  @param {number | null} ms @param {string} [name] */
  #showPoint(ms, name = "mono") {
    this.#pointed = ms !== null;
    const channels = Object.values(this.#history.channels);
    const now = channels.length === 1 ? channels[0].scores : undefined;
    const row = ms === null ? now : this.#history.sharesAt(name, ms);
    this.#legend.forEach((value, i) => (value.textContent = row ? percent(row[i]) : ""));
    if (ms === null || !row) say($("panel-timeline-note"), "panel.timeline.note");
    else say($("panel-timeline-note"), "panel.timeline.at", { time: clock(ms) });
  }
}

/** @param {Utterance} utterance */
function utteranceRow({ channel, start_ms: start, end_ms: end, emotion, confidence, scores }) {
  const feeling = feelingOf(asRow(scores));
  const long = make("span", { class: "long" });
  say(long, "duration", { s: seconds(end - start) });
  const who = make("span", { class: "who" });
  if (channel) say(who, `card.${channel}`);
  return make(
    "li",
    { "data-emotion": emotion, "data-sure": feeling.sure },
    make("span", { class: "when" }, clock(start)),
    make("span", { class: "emoji", "aria-hidden": "true" }, facesOf(feeling)),
    make("span", { class: "what" }, namesOf(feeling), who),
    stackOf(asRow(scores), "div"),
    long,
    make("span", { class: "value" }, percent(confidence)),
  );
}

/** @param {Alert} alert */
function alertRow({ level, at_ms: at, rule, state, channel, message, message_zh: chinese }) {
  const badge = make("span", { class: "badge", "data-level": state === "cleared" ? "none" : level });
  say(badge, state === "cleared" ? "alert.cleared" : `level.${level}`);
  const who = make("span", { class: "small" });
  if (channel) say(who, `card.${channel}`);
  const what = make("span", { class: "what", title: rule });
  say(what, "alert.message", messageOf({ message: message || rule, message_zh: chinese }));
  return make("li", { "data-state": state }, make("span", { class: "when" }, clock(at)), badge, what, who);
}
