/* Moves audio from the outbox to the server: a few chunks in flight, a pace for catching up, a pause when
   the server asks for one, and a word when it stops answering. Used by connection.js; no sockets in here. */

import { Outbox } from "./outbox.js";

const OUTBOX_MS = 30_000;
const MAX_IN_FLIGHT = 10;
const CATCH_UP_EVERY_MS = 25; // with 100 ms chunks: four times real time, so as not to be RATE_LIMITED
const BACK_OFF_MS = 1_000;
const ACK_TIMEOUT_MS = 10_000; // a connection that acknowledges nothing for so long is dead

export const PASSING = new Set(["NOT_READY", "OVERLOADED", "RATE_LIMITED"]); // ask again a little later
const GONE = new Set(["NOT_YOUR_SESSION"]); // the server no longer knows the session

export class Sender {
  /** `onGone()`: the session is no longer there. `onRefused(error)`: this audio will never be taken.
      `onWaiting(error)`: the server wants a pause; null once there is no backlog any more.
      `onSilent()`: nothing was acknowledged for too long. */
  constructor({ onGone, onRefused, onWaiting, onSilent }) {
    this.hooks = { onGone, onRefused, onWaiting, onSilent };
    this.waiting = false;
    this.outbox = new Outbox(OUTBOX_MS);
    this.emit = null; // (chunk, seq, answer) => …, while there is a session to send to
    this.notBefore = 0;
    this.lastAck = 0;
  }

  /** Send to a session from now on: the old one again (`nextSeq`: the first it lacks), or a new one. */
  open(emit, { resumed, nextSeq }) {
    if (resumed) this.outbox.rewind(nextSeq);
    else this.outbox.renumber();
    this.emit = emit;
    this.notBefore = 0;
    this.pump();
  }

  close() {
    this.emit = null;
    this.outbox.rewind();
  }

  /** False when there is no room. */
  push(chunk, ms) {
    const taken = this.outbox.push(chunk, ms);
    this.pump();
    return taken;
  }

  pump() {
    const now = Date.now();
    const inFlight = this.outbox.inFlight;
    if (!this.emit) return;
    if (inFlight && now - this.lastAck > ACK_TIMEOUT_MS) return void this.hooks.onSilent();
    if (now < this.notBefore || inFlight >= MAX_IN_FLIGHT) return;
    const entry = this.outbox.next();
    if (!entry) return;
    if (!inFlight) this.lastAck = now;
    entry.sent = true;
    const { emit } = this;
    emit(entry.chunk, entry.seq, (answer) => this.emit === emit && this.answered(entry, answer));
    if (this.outbox.next()) this.pauseFor(CATCH_UP_EVERY_MS);
  }

  answered(entry, answer) {
    this.lastAck = Date.now();
    const code = answer?.error?.code;
    if (GONE.has(code)) return this.hooks.onGone();
    if (PASSING.has(code) || answer?.next_seq !== undefined) {
      // Chunks are taken in order: those in flight behind a refused one are refused too.
      this.outbox.rewind(answer.next_seq ?? entry.seq);
      if (PASSING.has(code)) this.hooks.onWaiting(answer.error);
      this.waiting = true;
      return this.pauseFor(BACK_OFF_MS);
    }
    this.outbox.settle(entry.seq);
    if (this.waiting && this.outbox.ms < BACK_OFF_MS) {
      this.waiting = false;
      this.hooks.onWaiting(null);
    }
    if (code) this.hooks.onRefused(answer.error); // the same bytes would be refused again
    this.pump();
  }

  pauseFor(ms) {
    this.notBefore = Date.now() + ms;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.pump(), ms);
  }
}
