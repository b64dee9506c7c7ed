/* Moves audio from the outbox to the server: a few messages in flight, a pace for catching up, a pause when
   the server asks for one, and a word when it stops answering. Used by stream.js; no sockets in here. */

const MAX_IN_FLIGHT = 10;
const EVERY_MS = 25; // between two messages at least: callers that give 5 ms at a time must not send 200 a second
const CATCH_UP = 4; // times real time, so as not to be RATE_LIMITED at once
const BACK_OFF_MS = 1_000;
const ACK_TIMEOUT_MS = 10_000; // a connection that acknowledges nothing for so long is dead

export const PASSING = new Set(["NOT_READY", "OVERLOADED", "RATE_LIMITED"]); // ask again a little later
const GONE = new Set(["NOT_YOUR_SESSION"]); // the server no longer knows the session

export class Sender {
  /** `onGone()`: the session is no longer there. `onRefused(error)`: this audio will never be taken.
      `onWaiting(error)`: the server wants a pause; null once there is no backlog any more.
      `onSilent()`: nothing was acknowledged for too long. `onTaken()`: there is less in the outbox. */
  constructor(outbox, { onGone, onRefused, onWaiting, onSilent, onTaken }) {
    this.outbox = outbox;
    this.hooks = { onGone, onRefused, onWaiting, onSilent, onTaken };
    this.waiting = false;
    this.emit = null; // (bytes, seq, answer) => …, while there is a session to send to
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
    clearTimeout(this.timer);
    this.timer = undefined;
    this.outbox.rewind();
  }

  push(bytes, ms) {
    this.outbox.push(bytes, ms);
    this.pump();
  }

  pump() {
    if (!this.emit || !this.outbox.ms) return;
    const now = Date.now();
    const { inFlight } = this.outbox;
    if (inFlight && now - this.lastAck > ACK_TIMEOUT_MS) return void this.hooks.onSilent();
    if (now < this.notBefore) return this.later(this.notBefore - now);
    if (inFlight >= MAX_IN_FLIGHT || !this.outbox.hasNext) return this.later(ACK_TIMEOUT_MS);
    const message = this.outbox.next();
    if (!inFlight) this.lastAck = now;
    this.notBefore = now + Math.max(EVERY_MS, message.ms / CATCH_UP);
    const { emit } = this;
    emit(message.bytes, message.seq, (answer) => this.emit === emit && this.answered(message, answer));
    this.pump();
  }

  later(ms) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.pump(), ms);
  }

  answered(message, answer) {
    this.lastAck = Date.now();
    const code = answer?.error?.code;
    if (GONE.has(code)) return this.hooks.onGone();
    if (PASSING.has(code) || answer?.next_seq !== undefined) {
      // Messages are taken in order: those in flight behind a refused one are refused too.
      this.outbox.rewind(answer.next_seq ?? message.seq);
      if (PASSING.has(code)) this.hooks.onWaiting(answer.error);
      this.waiting = true;
      this.notBefore = Date.now() + BACK_OFF_MS;
      return this.pump();
    }
    this.outbox.settle(message.seq);
    this.hooks.onTaken();
    if (this.waiting && this.outbox.ms < BACK_OFF_MS) {
      this.waiting = false;
      this.hooks.onWaiting(null);
    }
    if (code) this.hooks.onRefused(answer.error); // the same bytes would be refused again
    this.pump();
  }
}
