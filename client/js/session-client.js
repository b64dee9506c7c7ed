/* Keeping one session alive over a connection that comes and goes: opening it, resuming it, sending what waits,
   handing on what the server says. stream.js is what programs see of it, settle.js brings it to its end. */

import { EmotionError, isRetryable } from "./errors.js";
import { Link } from "./link.js";
import { Outbox } from "./outbox.js";
import { Sender } from "./sender.js";
import { Waiters } from "./waiters.js";
import { said } from "./words.js";

/** @import { ConnectionState, ServerError, Session, SocketIo, Summary, Token } from "./emotion-stream.js" */
/** @import { Emitter } from "./emitter.js" */
/** @typedef {{url?: string | URL, path?: string, token?: Token, io?: SocketIo, bufferMs: number,
 *             keepConnection: boolean, language?: string}} Options */

const RETRY_MS = 1_000;
export const ANSWER_MS = 8_000;
/** @type {Record<string, string>} by their names on the wire, the events of a stream */
const EVENTS = {
  emotion_result: "result",
  frame_result: "frame",
  speech: "speech",
  utterance_result: "utterance",
  lost: "lost",
  alert: "alert",
};

export class SessionClient {
  #events;
  #link;
  #outbox;
  #sender;
  #keepConnection;
  /** @type {object | null} the `start` payload while a session is wanted */
  #wanted = null;
  /** @type {Session | null} the server's answer while the session is open on this connection */
  #session = null;
  /** @type {Summary | undefined} of the latest session that has ended */
  #summary;
  /** @type {string | undefined} */
  #resumeToken;
  /** @type {{id: string | undefined, count: number}} events so far, of this session */
  #received = { id: undefined, count: 0 };
  /** @type {EmotionError | undefined} why no session is wanted any more */
  #failure;
  #hadSession = false; // in this run, from `open` to `end`
  #starting = false;
  #stopping = false;
  #sentMs = 0; // audio taken by `push` in this run
  #originMs = 0;
  /** @type {number | undefined} */
  #retry;
  #language;
  #waiters = new Waiters(
    () => (this.#wanted ? undefined : (this.#failure ?? this.wrong("the stream has been stopped"))),
    (s) => this.wrong("no session with the server within {s} s", "DISCONNECTED", { s }),
  );

  /** @param {Options} options @param {Emitter} events */
  constructor({ bufferMs, keepConnection, language, ...where }, events) {
    this.#events = events;
    this.#language = language;
    this.#keepConnection = keepConnection;
    this.#outbox = new Outbox(bufferMs);
    this.#sender = new Sender(this.#outbox, {
      onGone: () => this.#reopen(),
      onWaiting: (error) => events.emit("waiting", error),
      onRefused: ({ code, message, retryable }) =>
        events.emit("error", new EmotionError(code, message, { retryable })),
      onSilent: () => this.#link.renew(),
      onTaken: () => this.#waiters.wake(),
    });
    this.#link = new Link(where, {
      onState: (state) => this.#onState(state),
      onMessage: (event, payload) => this.#onMessage(event, payload),
      onRefused: (error) => events.emit("waiting", error),
      language: () => this.#language,
    });
  }

  /** What went wrong, in the stream's language.
   *  @param {string} text @param {string} [code] @param {Record<string, unknown>} [values] */
  wrong(text, code = "CLOSED", values = {}) {
    return new EmotionError(code, said(text, this.#language, values));
  }

  get link() {
    return this.#link;
  }

  get session() {
    return this.#session;
  }

  get summary() {
    return this.#summary;
  }

  get outbox() {
    return this.#outbox;
  }

  /** Whether audio is taken: a session is wanted, and not about to be stopped. */
  get takesAudio() {
    return this.#wanted !== null && !this.#stopping;
  }

  /** From now on a session is wanted; audio may be pushed.
   *  @param {object} payload of `start` @param {boolean} joinable as of the outbox */
  begin(payload, joinable) {
    if (this.#wanted) throw this.wrong("this stream has a session; stop it first");
    this.#outbox.clear(joinable);
    this.#sentMs = 0;
    this.#hadSession = false;
    this.#received = { id: undefined, count: 0 };
    this.#resumeToken = this.#failure = this.#summary = undefined;
    this.#wanted = payload;
  }

  /** Connect, and open the session that is wanted; gives the server's answer.
   *  @param {number} timeoutS */
  async open(timeoutS) {
    const wanted = this.#wanted;
    try {
      await this.#link.connect();
      if (this.#link.online) this.#start();
      return await this.until(() => this.#session, timeoutS);
    } catch (problem) {
      if (this.#wanted === wanted) this.end();
      throw problem;
    }
  }

  /** @param {Uint8Array} bytes @param {number} ms */
  push(bytes, ms) {
    this.#sentMs += ms;
    this.#sender.push(bytes, ms);
  }

  /** The server may have closed the session, which was idle: there is audio for another. */
  restartIfClosed() {
    if (this.#summary && !this.#session && this.#link.online) this.#start();
  }

  /** No audio is taken from now on. */
  beginStop() {
    if (!this.takesAudio) throw this.wrong("there is no session to stop");
    this.#stopping = true;
  }

  /** Tell the server that nobody wants the session that is open, or is being opened, and end. */
  abandon() {
    if (this.#session) this.#link.emit("stop", { session_id: this.#session.session_id });
    else if (this.#starting && this.#link.online) this.#link.emit("stop", {});
    this.#keepConnection = false;
    this.#failure = this.wrong("the stream was closed");
    this.end();
  }

  end() {
    this.#wanted = this.#session = null;
    this.#stopping = false;
    clearTimeout(this.#retry);
    this.#sender.close();
    this.#outbox.clear();
    if (!this.#keepConnection) this.#link.close();
    this.#waiters.wake();
    this.#events.endLoops();
  }

  /** Resolves with what `holds()` gives once that is truthy; rejects when no session is wanted any more.
   *  @template T
   *  @param {() => T} holds @param {number} timeoutS */
  until(holds, timeoutS) {
    return this.#waiters.until(holds, timeoutS);
  }

  // -- the connection -----------------------------------------------------------------------------

  /** @param {ConnectionState} state */
  #onState(state) {
    if (state !== "online") {
      this.#session = null;
      this.#sender.close();
    }
    this.#events.emit("state", { state });
    if (state === "online" && this.#wanted) this.#start();
    if (state === "unauthorized" && this.#wanted) {
      this.#fail({ code: "UNAUTHORIZED", message: said("no token, or a wrong one", this.#language) });
    }
    this.#waiters.wake();
  }

  async #start() {
    if (this.#starting || this.#session) return;
    const wanted = this.#wanted;
    const token = this.#resumeToken;
    const resuming = token ? { resume_token: token, received: this.#received.count } : {};
    clearTimeout(this.#retry);
    this.#starting = true;
    const answer = await this.#link.ask("start", { ...wanted, ...resuming }, ANSWER_MS);
    this.#starting = false;
    if (!this.#link.online) return;
    if (this.#wanted !== wanted) {
      if (answer.ok) this.#link.emit("stop", { session_id: answer.session_id }); // nobody wants that one any more
      if (this.#wanted) this.#start();
    } else if (answer.ok) {
      this.#opened(answer);
    } else if (startsAgain(answer.error, Boolean(token))) {
      this.#events.emit("waiting", answer.error);
      this.#retry = setTimeout(
        () => {
          if (this.#wanted === wanted && this.#link.online) this.#start();
        },
        1000 * (answer.error.retry_after_s ?? 0) || RETRY_MS,
      );
    } else if (token) {
      this.#resumeToken = undefined; // it will not give the old session back: ask for a new one
      this.#start();
    } else {
      this.#fail(answer.error);
    }
  }

  /** @param {Session} answer */
  #opened(answer) {
    this.#session = answer;
    this.#summary = undefined;
    this.#resumeToken = answer.resume_token;
    if (!answer.resumed) this.#originMs = this.#sentMs - this.#outbox.ms;
    if (answer.session_id !== this.#received.id) this.#received = { id: answer.session_id, count: 0 };
    const replaced = this.#hadSession && !answer.resumed;
    this.#events.emit("waiting", null);
    this.#events.emit("session", { ...answer, replaced, origin_ms: this.#originMs });
    this.#hadSession = true;
    this.#sender.open(
      (chunk, seq, onAnswer) =>
        this.#link.emit("audio_stream", { session_id: answer.session_id, chunk, seq }, onAnswer),
      { resumed: answer.resumed, nextSeq: answer.next_seq },
    );
    this.#waiters.wake();
  }

  /** @param {string} event @param {any} payload */
  #onMessage(event, payload) {
    this.#events.emit("*", { event, payload });
    if (event === "error") return this.#onError(payload);
    if (payload?.session_id) this.#count(payload.session_id);
    if (event === "session_summary") this.#closedByServer(payload);
    else if (EVENTS[event]) this.#events.emit(EVENTS[event], payload);
  }

  /** The answer to what was refused says the same, but for a container that proved bad only when it was decoded.
   *  @param {ServerError & {session_id?: string}} error */
  #onError({ session_id, code, message, retryable }) {
    if (session_id && !retryable) this.#events.emit("error", new EmotionError(code, message, { retryable }));
  }

  /** An event of a session has come. When it is resumed, the server sends again what was under way.
   *  @param {string} id */
  #count(id) {
    if (this.#received.id !== id) this.#received = { id, count: 0 };
    this.#received.count++;
  }

  /** @param {Summary} summary */
  #closedByServer(summary) {
    if (summary.session_id !== this.#session?.session_id) return; // not ours any more
    this.#summary = summary;
    this.#events.emit("summary", summary);
    if (summary.reason === "stop") return; // the answer to `stop` follows
    this.#resumeToken = undefined;
    this.#session = null;
    this.#sender.close();
    // After a silence of minutes the next audio opens another one; nobody wants it before.
    if (this.#outbox.ms || !(summary.reason === "idle" || this.#stopping)) this.#start();
    this.#waiters.wake();
  }

  #reopen() {
    this.#session = null;
    this.#sender.close();
    if (this.#wanted && this.#link.online) this.#start();
  }

  /** The session is refused for good.
   *  @param {ServerError} error */
  #fail({ code, message, retryable }) {
    this.#failure = new EmotionError(code, message, { retryable, fatal: true });
    if (this.#hadSession || !this.#waiters.some) this.#events.emit("error", this.#failure);
    this.end();
  }
}

/** Whether a refused `start` is tried again by itself.
 *  @param {ServerError} error @param {boolean} resuming */
function startsAgain(error, resuming) {
  // A server that is full says so to whoever asks for a session: they decide whether to wait. While resuming, it
  // may still be counting the session that it is about to give back.
  if (error.code === "TOO_MANY_SESSIONS") return resuming;
  return error.code === "DISCONNECTED" || isRetryable(error);
}
