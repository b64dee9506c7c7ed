/* The session that is open: who, how they feel now, all of its timeline, alerts and utterances. It is given what
   the server says of it and what its card knows; it asks for nothing. */

import { EMOTIONS, LABELS, emotionOf } from "../shared/emotions.js";
import { $, bothNames, make } from "../shared/parts.js";
import { messageOf, names, percent, say, seconds } from "../shared/text.js";
import { clock, showTags, title } from "./cards.js";
import { History } from "./history.js";
import { Plot } from "./plot.js";
import { duration } from "./store.js";

const ROWS = 200; // utterances on the page: as many as the server keeps

export class Panel {
  constructor() {
    this.view = { mode: "whole", range: null };
    for (const mode of ["whole", "recent"]) {
      $(`view-${mode}`).onclick = () => {
        this.view = Object.assign(this.view, { mode, range: null });
        this.viewChanged();
      };
    }
    this.legend = EMOTIONS.map(({ label }) => {
      const value = make("span", { class: "value" });
      $("panel-legend").append(make("li", { "data-emotion": label }, bothNames(label), value));
      return value;
    });
  }

  /** Begin with a session of which only the id is known, or its card. */
  open(id) {
    this.id = id;
    this.history = new History();
    this.plots = [];
    this.seen = { utterances: 0, alerts: 0 };
    Object.assign(this.view, { mode: "whole", range: null });
    for (const part of ["panel-voices", "panel-plots", "panel-utterances", "panel-alerts", "panel-tags"])
      $(part).replaceChildren();
    $("panel-title").textContent = "";
    $("panel").dataset.state = "loading";
    this.note("panel.loading");
    this.lists();
  }

  close() {
    this.id = null;
    for (const plot of this.plots ?? []) plot.destroy();
    this.plots = [];
  }

  /** A `session` message. */
  take(news) {
    const began = this.history.summary?.started_utc;
    this.history.take(news);
    if (news.whole || this.history.summary.started_utc !== began) this.begin();
    for (const plot of this.plots) plot.draw();
    this.lists();
    if (this.point === undefined || this.point === null) this.showPoint(null);
  }

  begin() {
    for (const plot of this.plots) plot.destroy();
    this.seen = { utterances: 0, alerts: 0 };
    for (const part of ["panel-voices", "panel-plots", "panel-utterances", "panel-alerts"])
      $(part).replaceChildren();
    const { timelines } = this.history.summary;
    this.voices = {};
    this.plots = [];
    $("panel").dataset.voices = Object.keys(timelines).length;
    for (const [name, { watched }] of Object.entries(timelines)) {
      this.voices[name] = voice(name, watched);
      $("panel-voices").append(this.voices[name].element);
      if (!watched) continue;
      const host = make("div", { class: "plot", role: "img", "data-t-label": "panel.timeline" });
      const figure = make("figure", {}, host);
      if (name !== "mono") {
        const caption = make("figcaption", { class: "small" });
        say(caption, `card.${name}`);
        figure.prepend(caption);
      }
      $("panel-plots").append(figure);
      const told = { onView: () => this.viewChanged(), onPoint: (ms) => this.showPoint(ms, name) };
      this.plots.push(new Plot(host, name, this.history, this.view, told));
    }
    this.viewChanged();
  }

  /** What the card knows, whenever that has changed, and once a second for the clock. */
  show(session, now) {
    $("panel").dataset.state = session.state;
    $("panel").dataset.level = session.alerts.open ?? "none";
    $("panel-title").textContent = title(session);
    showTags($("panel-tags"), session.tags);
    $("panel-time").textContent = clock(duration(session, now));
    say($("panel-since"), "panel.started", { time: new Date(session.started_utc).toLocaleTimeString() });
    say($("panel-state"), session.state === "live" ? "panel.live" : "panel.ended");
    $("panel-id").textContent = session.session_id;
    $("panel-utterance-count").textContent = session.utterances || "";
    say($("panel-lost"), "duration", { s: seconds(session.lost_ms) });
    $("panel-lost").parentElement.dataset.some = session.lost_ms > 0;
    const voices = Object.values(session.timelines).filter(({ watched }) => watched);
    $("panel-speech").textContent = voices.map(({ speech_share: share }) => percent(share)).join(" · ");
    $("panel-negative").textContent = voices.map(({ negative }) => percent(negative)).join(" · ");
    for (const [name, said] of Object.entries(session.timelines))
      this.voices?.[name]?.show(said, this.history.voices[name]?.scores);
    this.note(session.state === "ended" ? "panel.ended.note" : null);
  }

  /** A line of words instead of news; null: none. */
  note(key) {
    $("panel-note").hidden = key === null;
    if (key) say($("panel-note"), key);
  }

  lists() {
    const { utterances, alerts } = this.history;
    for (const one of utterances) {
      if (one.n <= this.seen.utterances) continue;
      $("panel-utterances").prepend(utterance(one));
      this.seen.utterances = one.n;
    }
    while ($("panel-utterances").children.length > ROWS) $("panel-utterances").lastElementChild.remove();
    for (const one of alerts) {
      if (one.n <= this.seen.alerts) continue;
      $("panel-alerts").prepend(alert(one));
      this.seen.alerts = one.n;
    }
    $("panel-utterances-none").hidden = utterances.length > 0;
    $("panel-alerts-none").hidden = alerts.length > 0;
  }

  viewChanged() {
    for (const mode of ["whole", "recent"])
      $(`view-${mode}`).setAttribute("aria-pressed", !this.view.range && this.view.mode === mode);
    for (const plot of this.plots) plot.draw();
  }

  /** The shares under the pointer, or those of now. */
  showPoint(ms, name) {
    this.point = ms;
    const only = Object.keys(this.history.voices).length === 1;
    const row =
      ms === null ? only && Object.values(this.history.voices)[0].scores : this.history.sharesAt(name, ms);
    this.legend.forEach((value, i) => (value.textContent = row ? percent(row[i]) : ""));
    if (ms === null || !row) say($("panel-timeline-note"), "panel.timeline.note");
    else say($("panel-timeline-note"), "panel.timeline.at", { time: clock(ms) });
  }
}

/** One voice as it is now: {element, show(said, scores)}. */
function voice(name, watched) {
  const face = make("div", { class: "face", "aria-hidden": "true" }, make("span"));
  const first = make("p", { class: "name" });
  const also = make("p", { class: "name-also" });
  const sure = make("p", { class: "sure" });
  const parts = LABELS.map((label) => make("i", { "data-emotion": label }));
  const stack = make("div", { class: "stack", "aria-hidden": "true" }, ...parts);
  const said = make("div", { class: "said" }, first, also, sure);
  const element = make(
    "div",
    { class: "voice", "data-watched": watched },
    make("div", { class: "now" }, face, said),
    stack,
  );
  if (name !== "mono") {
    const who = make("h3");
    say(who, `card.${name}`);
    element.prepend(who);
  }
  const show = ({ emotion, confidence, speaking }, scores) => {
    element.dataset.speaking = speaking;
    if (!watched) {
      face.firstElementChild.textContent = "🔒";
      say(first, "card.unwatched");
      say(also, "card.unwatched.why");
      return;
    }
    if (!emotion) {
      face.firstElementChild.textContent = "…";
      return say(first, "card.quiet");
    }
    face.dataset.emotion = emotion;
    face.style.setProperty("--p", confidence);
    face.firstElementChild.textContent = emotionOf(emotion).emoji;
    say(first, "{name}", { name: () => names(emotion)[0] });
    say(also, "{name}", { name: () => names(emotion)[1] });
    sure.textContent = percent(confidence);
    parts.forEach((part, i) => part.style.setProperty("--p", scores?.[i] ?? 0));
  };
  return { element, show };
}

function utterance({ channel, start_ms: start, end_ms: end, emotion, confidence, scores }) {
  const long = make("span", { class: "long" });
  say(long, "duration", { s: seconds(end - start) });
  const stack = make("div", { class: "stack", "aria-hidden": "true" });
  scores.forEach((p, i) => {
    const part = make("i", { "data-emotion": LABELS[i] });
    part.style.setProperty("--p", p);
    stack.append(part);
  });
  const who = make("span", { class: "who" });
  if (channel) say(who, `card.${channel}`);
  const emoji = make("span", { class: "emoji", "aria-hidden": "true" }, emotionOf(emotion).emoji);
  const when = make("span", { class: "when" }, clock(start));
  const sure = make("span", { class: "value" }, percent(confidence));
  return make(
    "li",
    { "data-emotion": emotion },
    when,
    emoji,
    make("span", { class: "what" }, bothNames(emotion), who),
    stack,
    long,
    sure,
  );
}

function alert({ level, at_ms: at, rule, state, channel, ...told }) {
  const badge = make("span", { class: "badge", "data-level": state === "cleared" ? "none" : level });
  say(badge, state === "cleared" ? "alert.cleared" : `level.${level}`);
  const who = make("span", { class: "small" });
  if (channel) say(who, `card.${channel}`);
  const what = make("span", { class: "what", title: rule });
  say(what, "alert.message", messageOf({ ...told, message: told.message || rule }));
  return make("li", { "data-state": state }, make("span", { class: "when" }, clock(at)), badge, what, who);
}
