/* The cards on the page: which are there, which are in view, and their order. While the pointer or the keyboard
   is among them nothing moves, so that nobody opens a card that has just slipped under their hand. */

import { Card } from "./cards.js";

const GAP = 14; // px between two voices of a card, as in desk.css
const SPARK_HEIGHT = 40;
const TYPING_MS = 8_000; // how long the keyboard is taken to be among the cards after its last stroke
const MOVE_MS = 280;
const MOST_MOVING = 80;

export class Grid {
  /** `onHold(held)`: the order is held, or no longer. */
  constructor(host, onHold) {
    this.host = host;
    this.cards = new Map(); // session id → card
    this.inView = new Set(); // elements
    this.size = { full: 0, half: 0, height: SPARK_HEIGHT, key: "" };
    this.held = false;
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    this.seen = new IntersectionObserver((entries) => this.look(entries), { rootMargin: "200px" });
    new ResizeObserver(() => this.measure()).observe(host);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", () => this.measure(true));
    const hold = (held) => held !== this.held && onHold((this.held = held));
    host.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && hold(true));
    host.addEventListener("pointerleave", () => hold(false));
    const typed = () => {
      hold(true);
      clearTimeout(this.typing);
      this.typing = setTimeout(() => hold(host.matches(":hover")), TYPING_MS);
    };
    host.addEventListener("focusin", typed);
    host.addEventListener("keydown", typed);
  }

  /** Draw what is shown of `sessions` (a Map) now; the cards of `ids` are new, changed or gone. */
  update(sessions, ids, now) {
    for (const id of ids) {
      const session = sessions.get(id);
      let card = this.cards.get(id);
      if (card && card.began !== session?.started_utc && !(this.held && !session))
        card = this.remove(id, card);
      if (!session) continue;
      if (!card) card = this.add(id, session);
      if (this.inView.has(card.element)) card.show(session, now, this.size);
    }
  }

  /** What changes by itself: the clocks, and drawings that move on. */
  refresh(sessions, now) {
    for (const [id, card] of this.cards) {
      const session = sessions.get(id);
      if (session && this.inView.has(card.element)) card.show(session, now, this.size);
    }
  }

  add(id, session) {
    const card = new Card(session);
    card.id = id;
    this.cards.set(id, card);
    this.host.append(card.element);
    this.seen.observe(card.element);
    if (!this.size.full) this.measure();
    card.show(session, performance.now(), this.size);
    return card;
  }

  remove(id, card) {
    this.seen.unobserve(card.element);
    this.inView.delete(card.element);
    card.element.remove();
    this.cards.delete(id);
    return undefined;
  }

  /** Show `ids` in this order, hide all others, let go of what is gone; where cards move, they glide. */
  arrange(ids, sessions) {
    for (const [id, card] of this.cards) if (!sessions.has(id)) this.remove(id, card);
    const wanted = ids.map((id) => this.cards.get(id)?.element).filter(Boolean);
    const shown = new Set(wanted);
    for (const { element } of this.cards.values()) {
      if (element.hidden === shown.has(element)) element.hidden = !element.hidden;
    }
    const before = this.calm.matches ? new Map() : this.places();
    let at = this.host.firstElementChild;
    let moved = false;
    for (const element of wanted) {
      while (at?.hidden) at = at.nextElementSibling;
      if (element === at) at = at.nextElementSibling;
      else {
        this.host.insertBefore(element, at);
        moved = true;
      }
    }
    if (moved) this.glide(before);
  }

  places() {
    const some = [...this.inView].slice(0, MOST_MOVING).filter((element) => !element.hidden);
    return new Map(some.map((element) => [element, [element.offsetLeft, element.offsetTop]]));
  }

  glide(before) {
    const moves = [...before].map(([element, [left, top]]) => [
      element,
      left - element.offsetLeft,
      top - element.offsetTop,
    ]);
    for (const [element, x, y] of moves) {
      if (x || y)
        element.animate([{ transform: `translate(${x}px, ${y}px)` }, { transform: "none" }], {
          duration: MOVE_MS,
          easing: "ease-out",
        });
    }
  }

  look(entries) {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) this.inView.add(target);
      else this.inView.delete(target);
    }
    this.onSeen?.();
  }

  /** How wide the drawings are: of one card for all, since they are alike. */
  measure(anew = false) {
    const body = this.host.querySelector(".call:not([hidden]) .voices");
    if (!body) return;
    const full = body.clientWidth;
    if (!anew && full === this.size.full) return;
    const theme = matchMedia("(prefers-color-scheme: dark)").matches;
    this.size = {
      full,
      half: (full - GAP) / 2,
      height: SPARK_HEIGHT,
      key: `${full} ${theme} ${devicePixelRatio}`,
    };
    this.onSeen?.();
  }
}
