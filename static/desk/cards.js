/* The cards: one for each session, built once, and changed only where something has changed. Cards that are not
   in view are not drawn until they are. */

import { emotionOf } from "../shared/emotions.js";
import { make } from "../shared/parts.js";
import { messageOf, names, percent, say } from "../shared/text.js";
import { drawSpark, slotOf } from "./spark.js";
import { duration } from "./store.js";

export const TAGS = ["queue", "language", "agent", "customer"]; // shown first, in this order

/** What a session is called. */
export function title({ name, session_id: id, tags }) {
  return name || tags.customer || id.slice(0, 8);
}

export function clock(ms) {
  const s = Math.floor(ms / 1000);
  const two = (n) => String(n).padStart(2, "0");
  const hours = Math.floor(s / 3600);
  return hours
    ? `${hours}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`
    : `${Math.floor(s / 60)}:${two(s % 60)}`;
}

/** Chips of a session's tags in `list`. */
export function showTags(list, tags) {
  const known = TAGS.filter((key) => tags[key]);
  const others = Object.keys(tags)
    .filter((key) => !TAGS.includes(key))
    .sort();
  list.replaceChildren(
    ...[...known, ...others].map((key) => {
      const label = make("span", { class: "hidden" });
      if (TAGS.includes(key)) say(label, `tag.${key}`);
      else label.textContent = key;
      return make("li", { "data-tag": key, title: tags[key] }, label, " ", tags[key]);
    }),
  );
}

/** One voice: who, the face, the emotion, how sure, and the last minutes. */
class Voice {
  constructor(name) {
    this.face = make("span", { class: "emoji", "aria-hidden": "true" });
    this.name = make("b");
    this.also = make("span", { class: "also" });
    this.sure = make("span", { class: "sure" });
    this.share = make("p", { class: "share" });
    this.canvas = make("canvas", { "aria-hidden": "true" });
    this.element = make("div", { class: "voice" });
    if (name !== "mono") {
      const who = make("p", { class: "who" });
      say(who, `card.${name}`);
      this.element.append(who);
    }
    const said = make("p", { class: "what" }, this.name, this.also, this.sure);
    this.element.append(
      make("div", { class: "feels" }, this.face, make("div", {}, said, this.share)),
      this.canvas,
    );
  }

  show({ emotion, confidence, speaking, speech_share: share, watched }) {
    if (!watched) return this.unwatched();
    const shown = `${emotion} ${confidence} ${share}`;
    this.element.dataset.speaking = speaking;
    if (shown === this.shown) return;
    this.shown = shown;
    if (emotion) this.feels(emotion, confidence);
    else {
      this.face.textContent = "…";
      say(this.name, "card.quiet");
    }
    say(this.share, "card.speech", { p: percent(share) });
  }

  feels(emotion, confidence) {
    this.element.style.setProperty("--p", confidence);
    this.sure.textContent = percent(confidence);
    if (this.element.dataset.emotion === emotion) return;
    this.element.dataset.emotion = emotion;
    this.face.textContent = emotionOf(emotion).emoji;
    say(this.name, "{name}", { name: () => names(emotion)[0] });
    say(this.also, "{name}", { name: () => names(emotion)[1] });
  }

  unwatched() {
    if (this.shown === "unwatched") return;
    this.shown = "unwatched";
    this.element.dataset.watched = false;
    this.face.textContent = "🔒";
    say(this.name, "card.unwatched");
    say(this.share, "card.unwatched.why");
  }

  draw({ spark, watched }, age, size) {
    if (watched) drawSpark(this.canvas, spark, age, size);
  }
}

export class Card {
  constructor(session) {
    this.link = make("a", { class: "title", href: `#session/${encodeURIComponent(session.session_id)}` });
    this.time = make("span", { class: "time" });
    this.tags = make("ul", { class: "tags" });
    this.level = make("b");
    this.count = make("span");
    this.badge = make("p", { class: "badge" }, this.level, " ", this.count);
    this.message = make("p", { class: "message" });
    this.lost = make("p", { class: "lost" });
    this.end = make("span", { class: "end" });
    say(this.end, "card.ended");
    this.voices = {};
    this.body = make("div", { class: "voices" });
    const head = make("div", { class: "head" }, this.link, this.end, this.time);
    const foot = make("div", { class: "foot" }, this.badge, this.message, this.lost);
    this.element = make("li", { class: "call card" }, head, this.tags, this.body, foot);
    for (const name of Object.keys(session.timelines)) {
      this.voices[name] = new Voice(name);
      this.body.append(this.voices[name].element);
    }
    this.element.dataset.voices = Object.keys(session.timelines).length;
    this.element.card = this;
    this.began = session.started_utc;
  }

  /** Put what is known on the card. `size`: of its drawings, the same for all cards. */
  show(session, now, size) {
    const age = duration(session, now);
    const time = clock(age);
    if (time !== this.time.textContent) this.time.textContent = time;
    this.words(session);
    const slot = slotOf(age);
    for (const [name, voice] of Object.entries(session.timelines)) {
      this.voices[name].show(voice);
      const drawn = `${slot} ${voice.spark.from} ${voice.spark.points.length} ${voice.spark.points.at(-1)} ${size.key}`;
      if (drawn === this.voices[name].drawn) continue;
      this.voices[name].drawn = drawn;
      this.voices[name].draw(voice, age, {
        width: this.body.children.length > 1 ? size.half : size.full,
        height: size.height,
      });
    }
  }

  words({ state, alerts, lost_ms: lost, ...session }) {
    const shown = JSON.stringify([state, alerts, lost, session.name, session.tags]);
    if (shown === this.shown) return;
    this.shown = shown;
    const { element } = this;
    element.dataset.state = state;
    element.dataset.level = state === "live" ? (alerts.open ?? "none") : "none";
    this.link.textContent = title(session);
    showTags(this.tags, session.tags);
    const total = alerts.critical + alerts.warning + alerts.info;
    this.badge.hidden = total === 0;
    this.badge.dataset.level = element.dataset.level;
    this.level.hidden = !alerts.open;
    if (alerts.open) say(this.level, `level.${alerts.open}`);
    say(this.count, "card.alerts", { n: total });
    say(this.message, "alert.message", alerts.open ? messageOf(alerts.last) : { message: "" });
    this.lost.hidden = lost < 100;
    say(this.lost, "card.lost", { s: (lost / 1000).toFixed(1) });
  }
}
