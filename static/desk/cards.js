/* The cards: one for each session, built once, and changed only where something has changed. Cards that are not
   in view are not drawn until they are. */

import { feelingOfTwo } from "../shared/feeling.js";
import { facesOf, make, sayFeeling } from "../shared/parts.js";
import { messageOf, percent, say } from "../shared/text.js";
import { drawSpark, slotOf } from "./spark.js";
import { duration } from "./store.js";

/** @import { Feeling } from "../shared/feeling.js" */
/** @import { Channel, Session } from "./store.js" */
/** Of the drawings, in px; `half`: of each of two on one card; `key` changes with whatever changes how they look.
 *  @typedef {{full: number, half: number, height: number, key: string}} Size */

const TAGS = ["queue", "language", "agent", "customer"]; // shown first, in this order

/** What a session is called.
 *  @param {Pick<Session, "name" | "session_id" | "tags">} session */
export function title({ name, session_id: id, tags }) {
  return name || tags.customer || id.slice(0, 8);
}

/** @param {number} ms */
export function clock(ms) {
  const s = Math.floor(ms / 1000);
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  const hours = Math.floor(s / 3600);
  return hours
    ? `${hours}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`
    : `${Math.floor(s / 60)}:${two(s % 60)}`;
}

/** Chips of a session's tags in `list`.
 *  @param {HTMLElement} list @param {Record<string, string>} tags */
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

/** One channel on a card: whose, the face, the emotion, how sure, and the last minutes. */
class ChannelView {
  #face = make("span", { class: "emoji", "aria-hidden": "true" });
  #name = make("b");
  #also = make("span", { class: "also" });
  #sure = make("span", { class: "sure" });
  #share = make("p", { class: "share" });
  #canvas = make("canvas", { "aria-hidden": "true" });
  #shown = ""; // what stands there, so that nothing is written twice
  #drawn = "";
  element = make("div", { class: "channel" });

  /** @param {string} name */
  constructor(name) {
    if (name !== "mono") {
      const who = make("p", { class: "who" });
      say(who, `card.${name}`);
      this.element.append(who);
    }
    const what = make("p", { class: "what" }, this.#name, this.#also, this.#sure);
    const feels = make("div", { class: "feels" }, this.#face, make("div", {}, what, this.#share));
    this.element.append(feels, this.#canvas);
  }

  /** `interruptions`: of the other channel, by this one.
   *  @param {Channel} channel @param {number} interruptions */
  show(channel, interruptions) {
    const { emotion, confidence, second, second_confidence: rest, speaking, speech_share: share } = channel;
    if (!channel.watched) return this.#showUnwatched();
    const shown = `${emotion} ${confidence} ${second} ${rest} ${share} ${interruptions}`;
    this.element.dataset.speaking = String(speaking);
    if (shown === this.#shown) return;
    this.#shown = shown;
    if (emotion) this.#showFeeling(feelingOfTwo(emotion, confidence, second ?? emotion, rest));
    else {
      this.#face.textContent = "…";
      say(this.#name, "card.quiet");
    }
    const said = interruptions ? "card.speech.interrupts" : "card.speech";
    say(this.#share, said, { p: percent(share), n: interruptions });
  }

  /** @param {Feeling} feeling */
  #showFeeling(feeling) {
    this.element.style.setProperty("--p", String(feeling.confidence));
    this.element.dataset.emotion = feeling.label;
    this.element.dataset.sure = feeling.sure;
    this.#sure.textContent = feeling.sure === "sure" ? percent(feeling.confidence) : "";
    this.#face.textContent = facesOf(feeling);
    sayFeeling(this.#name, feeling, 0);
    if (feeling.sure === "sure") sayFeeling(this.#also, feeling, 1);
    else say(this.#also, "");
  }

  #showUnwatched() {
    if (this.#shown === "unwatched") return;
    this.#shown = "unwatched";
    this.element.dataset.watched = "false";
    this.#face.textContent = "🔒";
    say(this.#name, "card.unwatched");
    say(this.#share, "card.unwatched.why");
  }

  /** @param {Channel} channel @param {number} age @param {{width: number, height: number, key: string}} size */
  draw({ spark, watched }, age, size) {
    const drawn = `${slotOf(age)} ${spark.from} ${spark.points.length} ${spark.points.at(-1)} ${size.key}`;
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    if (watched) drawSpark(this.#canvas, spark, age, size);
  }
}

/** @type {WeakMap<Element, Card>} */
const byElement = new WeakMap();

export class Card {
  #link;
  #time = make("span", { class: "time" });
  #tags = make("ul", { class: "tags" });
  #level = make("b");
  #count = make("span");
  #badge = make("p", { class: "badge" }, this.#level, " ", this.#count);
  #message = make("p", { class: "message" });
  #lost = make("p", { class: "lost" });
  #shown = "";
  /** @type {Record<string, ChannelView>} */
  #channels;

  /** @param {Session} session */
  constructor(session) {
    this.id = session.session_id;
    this.startedUtc = session.started_utc;
    const href = `#session/${encodeURIComponent(this.id)}`;
    this.#link = make("a", { class: "title", href });
    const end = make("span", { class: "end", "data-t": "card.ended" });
    const views = Object.keys(session.timelines).map((name) => ({ name, view: new ChannelView(name) }));
    this.#channels = Object.fromEntries(views.map(({ name, view }) => [name, view]));
    const head = make("div", { class: "head" }, this.#link, end, this.#time);
    const body = make("div", { class: "channels" }, ...views.map(({ view }) => view.element));
    const foot = make("div", { class: "foot" }, this.#badge, this.#message, this.#lost);
    this.element = make(
      "li",
      { class: "call card", "data-channels": views.length },
      head,
      this.#tags,
      body,
      foot,
    );
    byElement.set(this.element, this);
  }

  /** The card that `element` is on, if any.
   *  @param {Element | null} element */
  static around(element) {
    const card = element?.closest(".call");
    return card ? byElement.get(card) : undefined;
  }

  focus() {
    this.#link.focus({ preventScroll: false });
  }

  /** Put what is known on the card.
   *  @param {Session} session @param {number} now @param {Size} size of its drawings, the same for all cards */
  show(session, now, size) {
    const age = duration(session, now);
    const time = clock(age);
    if (time !== this.#time.textContent) this.#time.textContent = time;
    this.#showWords(session);
    const channels = Object.entries(session.timelines);
    const width = channels.length > 1 ? size.half : size.full;
    for (const [name, channel] of channels) {
      this.#channels[name].show(channel, session.dynamics?.by_channel[name]?.interruptions ?? 0);
      this.#channels[name].draw(channel, age, { width, height: size.height, key: size.key });
    }
  }

  /** @param {Session} session */
  #showWords(session) {
    const { state, alerts, lost_ms: lost } = session;
    const shown = JSON.stringify([state, alerts, lost, session.name, session.tags]);
    if (shown === this.#shown) return;
    this.#shown = shown;
    const { element } = this;
    const level = state === "live" ? (alerts.open ?? "none") : "none";
    const total = alerts.critical + alerts.warning + alerts.info;
    element.dataset.state = state;
    element.dataset.level = this.#badge.dataset.level = level;
    this.#link.textContent = title(session);
    showTags(this.#tags, session.tags);
    this.#badge.hidden = total === 0;
    this.#level.hidden = !alerts.open;
    if (alerts.open) say(this.#level, `level.${alerts.open}`);
    say(this.#count, "card.alerts", { n: total });
    say(this.#message, "alert.message", alerts.worst ? messageOf(alerts.worst) : { message: "" });
    this.#lost.hidden = lost < 100;
    say(this.#lost, "card.lost", { s: (lost / 1000).toFixed(1) });
  }
}
