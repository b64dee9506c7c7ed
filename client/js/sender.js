/* Moves audio from the outbox to the server: a few messages in flight, a pace for a backlog, a pause when
   the server asks for one, and a word when it stops answering. Used by session-client.js; no sockets in here. */

import { isRetryable } from "./errors.js";

/** @import { ServerError } from "./emotion-stream.js" */
/** @import { Message, Outbox } from "./outbox.js" */
/** @typedef {{ok: boolean, error?: ServerError, next_seq?: number} | undefined} Answer */
/** @typedef {(bytes: Uint8Array, seq: number, onAnswer: (answer: Answer) => void) => void} Emit */
/** @typedef {{onGone: () => void, onRefused: (error: ServerError) => void, onSilent: () => void,
 *             onWaiting: (error: ServerError | null) => void, onTaken: () => void}} Hooks */

const MAX_IN_FLIGHT = 10;
const MIN_INTERVAL_MS = 25; // between two messages: callers that give 5 ms at a time must not send 200 a second
const REFILL_RATE = 4; // times real time, so as not to be RATE_LIMITED at once
const BACK_OFF_MS = 1_000;
const ACK_TIMEOUT_MS = 10_000; // a connection that acknowledges nothing for so long is dead

const GONE = "NOT_YOUR_SESSION"; // the server no longer knows the session

export class Sender {
  #outbox;
  #hooks;
  #waiting = false;
  /** @type {Emit | null} while there is a session to send to */
  #emit = null;
  #notBefore = 0;
  #lastAck = 0;
  /** @type {number | undefined} */
  #timer;

  /** `onGone()`: the session is no longer there. `onRefused(error)`: this audio will never be taken.
   *  `onWaiting(error)`: the server wants a pause; null once there is no backlog any more.
   *  `onSilent()`: nothing was acknowledged for too long. `onTaken()`: there is less in the outbox.
   *  @param {Outbox} outbox @param {Hooks} hooks */
  constructor(outbox, hooks) {
    this.#outbox = outbox;
    this.#hooks = hooks;
  }

  /** Send to a session from now on: the old one again (`nextSeq`: the first it lacks), or a new one.
   *  @param {Emit} emit @param {{resumed: boolean, nextSeq: number}} session */
  open(emit, { resumed, nextSeq }) {
    if (resumed) this.#outbox.rewind(nextSeq);
    else this.#outbox.renumber();
    this.#emit = emit;
    this.#notBefore = 0;
    this.#pump();
  }

  close() {
    this.#emit = null;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#outbox.rewind();
  }

  /** @param {Uint8Array} bytes @param {number} ms */
  push(bytes, ms) {
    this.#outbox.push(bytes, ms);
    this.#pump();
  }

  #pump() {
    if (!this.#emit || !this.#outbox.ms) return;
    const now = Date.now();
    const { inFlight } = this.#outbox;
    if (inFlight && now - this.#lastAck > ACK_TIMEOUT_MS) return void this.#hooks.onSilent();
    if (now < this.#notBefore) return this.#later(this.#notBefore - now);
    const message = inFlight < MAX_IN_FLIGHT ? this.#outbox.next() : undefined;
    if (!message) return this.#later(ACK_TIMEOUT_MS);
    if (!inFlight) this.#lastAck = now;
    this.#notBefore = now + Math.max(MIN_INTERVAL_MS, message.ms / REFILL_RATE);
    const emit = this.#emit;
    emit(message.bytes, message.seq, (answer) => {
      if (this.#emit === emit) this.#answered(message, answer);
    });
    this.#pump();
  }

  /** @param {number} ms */
  #later(ms) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#pump(), ms);
  }

  /** @param {Message} message @param {Answer} answer */
  #answered(message, answer) {
    this.#lastAck = Date.now();
    const error = answer?.error;
    if (error?.code === GONE) return this.#hooks.onGone();
    const retryable = error !== undefined && isRetryable(error);
    if (retryable || answer?.next_seq !== undefined) {
      // Messages are taken in order: those in flight behind a refused one are refused too.
      this.#outbox.rewind(answer?.next_seq ?? message.seq);
      if (retryable) this.#hooks.onWaiting(error);
      this.#waiting = true;
      this.#notBefore = Date.now() + BACK_OFF_MS;
      return this.#pump();
    }
    this.#outbox.settle(message.seq);
    this.#hooks.onTaken();
    if (this.#waiting && this.#outbox.ms < BACK_OFF_MS) {
      this.#waiting = false;
      this.#hooks.onWaiting(null);
    }
    if (error) this.#hooks.onRefused(error); // the same bytes would be refused again
    this.#pump();
  }
}
