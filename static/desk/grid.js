/* The cards on the page: which are there, which are in view, and their order. While the pointer or the keyboard
   is among them nothing moves, so that nobody opens a card that has just slipped under their hand. */

import { Card } from "./cards.js";

/** @import { Size } from "./cards.js" */
/** @import { Session } from "./store.js" */
/** @typedef {Map<string, Session>} Sessions by id */

const GAP = 14; // px between two channels of a card, as in desk.css
const SPARK_HEIGHT = 40;
const TYPING_MS = 8_000; // how long the keyboard is taken to be among the cards after its last stroke
const MOVE_MS = 280;
const MOST_MOVING = 80;

export class Grid {
  /** @type {Map<string, Card>} by session id */
  cards = new Map();
  #held = false;
  #host;
  #hooks;
  /** @type {Set<HTMLElement>} */
  #inView = new Set();
  /** @type {Size} */
  #size = { full: 0, half: 0, height: SPARK_HEIGHT, key: "" };
  #calm = matchMedia("(prefers-reduced-motion: reduce)");
  #dark = matchMedia("(prefers-color-scheme: dark)");
  #seen = new IntersectionObserver((entries) => this.#look(entries), { rootMargin: "200px" });
  /** @type {number | undefined} */
  #typing;

  /** `onHold(held)`: the order is held, or no longer. `onSeen()`: other cards are in view, or of another size.
   *  @param {HTMLElement} host @param {{onHold: (held: boolean) => void, onSeen: () => void}} hooks */
  constructor(host, hooks) {
    this.#host = host;
    this.#hooks = hooks;
    new ResizeObserver(() => this.#measure()).observe(host);
    this.#dark.addEventListener("change", () => this.#measure(true));
    host.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && this.#hold(true));
    host.addEventListener("pointerleave", () => this.#hold(false));
    for (const event of ["focusin", "keydown"]) host.addEventListener(event, () => this.#typed());
  }

  get held() {
    return this.#held;
  }

  /** @param {boolean} held */
  #hold(held) {
    if (held === this.#held) return;
    this.#held = held;
    this.#hooks.onHold(held);
  }

  #typed() {
    this.#hold(true);
    clearTimeout(this.#typing);
    this.#typing = setTimeout(() => this.#hold(this.#host.matches(":hover")), TYPING_MS);
  }

  /** Draw what is shown of `sessions` now; the cards of `ids` are new, changed or gone.
   *  @param {Sessions} sessions @param {string[]} ids @param {number} now */
  update(sessions, ids, now) {
    for (const id of ids) {
      const session = sessions.get(id);
      let card = this.cards.get(id);
      const other = card && card.startedUtc !== session?.started_utc; // or none any more: then it stays while held
      if (card && other && !(this.#held && !session)) {
        this.#remove(card);
        card = undefined;
      }
      if (!session) continue;
      card ??= this.#add(session);
      if (this.#inView.has(card.element)) card.show(session, now, this.#size);
    }
  }

  /** What changes by itself: the clocks, and drawings that move on.
   *  @param {Sessions} sessions @param {number} now */
  refresh(sessions, now) {
    for (const [id, card] of this.cards) {
      const session = sessions.get(id);
      if (session && this.#inView.has(card.element)) card.show(session, now, this.#size);
    }
  }

  /** @param {Session} session */
  #add(session) {
    const card = new Card(session);
    this.cards.set(card.id, card);
    this.#host.append(card.element);
    this.#seen.observe(card.element);
    if (!this.#size.full) this.#measure();
    card.show(session, performance.now(), this.#size);
    return card;
  }

  /** @param {Card} card */
  #remove(card) {
    this.#seen.unobserve(card.element);
    this.#inView.delete(card.element);
    card.element.remove();
    this.cards.delete(card.id);
  }

  /** Show `ids` in this order, hide all others, let go of what is gone; where cards move, they glide.
   *  @param {string[]} ids @param {Sessions} sessions */
  arrange(ids, sessions) {
    for (const [id, card] of this.cards) if (!sessions.has(id)) this.#remove(card);
    const wanted = ids.flatMap((id) => this.cards.get(id)?.element ?? []);
    const shown = new Set(wanted);
    for (const { element } of this.cards.values()) {
      if (element.hidden === shown.has(element)) element.hidden = !element.hidden;
    }
    const before = this.#calm.matches ? new Map() : this.#places();
    let at = /** @type {HTMLElement | null} */ (this.#host.firstElementChild);
    const next = () => (at = /** @type {HTMLElement | null} */ (at?.nextElementSibling ?? null));
    let moved = false;
    for (const element of wanted) {
      while (at?.hidden) next();
      if (element === at) next();
      else {
        this.#host.insertBefore(element, at);
        moved = true;
      }
    }
    if (moved) this.#glide(before);
  }

  #places() {
    const some = [...this.#inView].slice(0, MOST_MOVING).filter((element) => !element.hidden);
    return new Map(some.map((element) => [element, { left: element.offsetLeft, top: element.offsetTop }]));
  }

  /** @param {Map<HTMLElement, {left: number, top: number}>} before */
  #glide(before) {
    const moves = [...before].map(([element, { left, top }]) => ({
      element,
      x: left - element.offsetLeft,
      y: top - element.offsetTop,
    }));
    for (const { element, x, y } of moves) {
      if (!x && !y) continue;
      const frames = [{ transform: `translate(${x}px, ${y}px)` }, { transform: "none" }];
      element.animate(frames, { duration: MOVE_MS, easing: "ease-out" });
    }
  }

  /** @param {IntersectionObserverEntry[]} entries */
  #look(entries) {
    for (const { target, isIntersecting } of entries) {
      const element = /** @type {HTMLElement} */ (target);
      if (isIntersecting) this.#inView.add(element);
      else this.#inView.delete(element);
    }
    this.#hooks.onSeen();
  }

  /** How wide the drawings are: of one card for all, since they are alike. */
  #measure(anew = false) {
    const body = this.#host.querySelector(".call:not([hidden]) .channels");
    if (!body) return;
    const full = body.clientWidth;
    if (!anew && full === this.#size.full) return;
    const key = `${full} ${this.#dark.matches} ${devicePixelRatio}`;
    this.#size = { full, half: (full - GAP) / 2, height: SPARK_HEIGHT, key };
    this.#hooks.onSeen();
  }
}
