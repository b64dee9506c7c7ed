/* Audio that the server has not yet acknowledged, in order, bounded. It is what lets a session go on after
   the connection breaks: what was sent and not acknowledged is sent again under the same `seq`.
   When it is full, new audio is refused, not old audio dropped: the numbering then has no holes. */

import { join } from "./audio.js";

/** @typedef {{bytes: Uint8Array, ms: number}} Piece */
/** @typedef {Piece & {seq: number, inFlight: boolean}} Message */

const MESSAGE_MS = 100; // pieces that wait are joined up to this: small ones cost as much as large ones

export class Outbox {
  /** @type {Piece[]} given, and never sent */
  #fresh = [];
  /** @type {Map<number, Message>} by `seq`; a Map keeps the order of insertion */
  #numbered = new Map();
  #nextSeq = 0;
  #ms = 0;
  #limitMs;
  #joinable = true;

  /** @param {number} limitMs */
  constructor(limitMs) {
    this.#limitMs = limitMs;
  }

  /** `joinable`: whether two pieces in a row are the same as one (not so where each has a header).
   *  @param {boolean} [joinable] */
  clear(joinable = true) {
    this.#joinable = joinable;
    this.#fresh = [];
    this.#numbered.clear();
    this.#nextSeq = 0;
    this.#ms = 0;
  }

  get joinable() {
    return this.#joinable;
  }

  /** Of audio waiting in here. */
  get ms() {
    return this.#ms;
  }

  /** @param {number} ms */
  hasRoom(ms) {
    return this.#ms === 0 || this.#ms + ms <= this.#limitMs;
  }

  /** @param {Uint8Array} bytes @param {number} ms */
  push(bytes, ms) {
    this.#fresh.push({ bytes, ms });
    this.#ms += ms;
  }

  /** The next message to send, or undefined. It is in flight from now on. */
  next() {
    const message = [...this.#numbered.values()].find(({ inFlight }) => !inFlight) ?? this.#number();
    if (message) message.inFlight = true;
    return message;
  }

  #number() {
    if (!this.#fresh.length) return undefined;
    let count = 1;
    let { ms } = this.#fresh[0];
    while (this.#joinable && count < this.#fresh.length && ms + this.#fresh[count].ms <= MESSAGE_MS) {
      ms += this.#fresh[count++].ms;
    }
    const pieces = this.#fresh.splice(0, count).map(({ bytes }) => bytes);
    const joined = count === 1 ? pieces[0] : join(pieces);
    const message = { seq: this.#nextSeq++, bytes: joined, ms, inFlight: false };
    this.#numbered.set(message.seq, message);
    return message;
  }

  get inFlight() {
    return [...this.#numbered.values()].filter(({ inFlight }) => inFlight).length;
  }

  /** The server has `seq`, or will never want it.
   *  @param {number} seq */
  settle(seq) {
    const message = this.#numbered.get(seq);
    if (!message) return;
    this.#numbered.delete(seq);
    this.#ms = this.#numbered.size || this.#fresh.length ? this.#ms - message.ms : 0; // no rounding is left over
  }

  /** Send everything here again, but for what the server has already (below `nextSeq`). */
  rewind(nextSeq = 0) {
    for (const message of [...this.#numbered.values()]) {
      if (message.seq < nextSeq) this.settle(message.seq);
      else message.inFlight = false;
    }
  }

  /** Start counting from 0: what waits here becomes the beginning of another session. */
  renumber() {
    this.#fresh = [...this.#numbered.values(), ...this.#fresh].map(({ bytes, ms }) => ({ bytes, ms }));
    this.#numbered.clear();
    this.#nextSeq = 0;
  }
}
