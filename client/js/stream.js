/* Live streaming: one session at a time over a connection of its own, and what keeps it going when the network
   does not. docs/client-browser.md describes the options; these are the events:

     result     the emotion of some frames (emotion_result)
     frame      of one frame, where `frameResults` was asked for
     speech     speech begins or ends
     utterance  the emotion of a stretch of speech
     lost       speech that gets no scores
     alert      a rule of the server's has fired
     summary    a session has ended; its totals
     state      {state}: connecting · online · offline · unauthorized · closed
     session    a session is open: the server's answer, with `replaced`: true if an earlier one could not be
                resumed, and `origin_ms`: where its 0 ms lies in everything given to `send` since `open`
     waiting    {code, message, retryable}: the server wants a pause, or has no room yet; it is asked again.
                null: that is over
     dropped    {ms}: audio given while the buffer was full
     error      an EmotionError: the server refused audio or (`fatal`) the session, for good
     *          {event, payload}: every message of the server, under its name on the wire */

import { bytesPerMoment, isRaw, toBytes } from "./audio.js";
import { timeoutOf } from "./deprecated.js";
import { Emitter } from "./emitter.js";
import { EmotionError } from "./errors.js";
import { ANSWER_MS, SessionClient } from "./session-client.js";
import { settle } from "./settle.js";

/** @import { Audio, SessionOptions, StopOptions, StreamEvents } from "./emotion-stream.js" */
/** @import { Session, SpanResult, SpanOptions, StreamOptions, Summary, Token } from "./emotion-stream.js" */

const BUFFER_MS = 30_000;
const CONNECT_TIMEOUT_S = 30;
const PIECE_MS = 1_000; // longer audio is cut: servers limit the length of a chunk

export class EmotionStream {
  #events = new Emitter();
  #client;
  #connectTimeoutS;
  #defaults;
  #format = { encoding: "pcm_s16le", channels: 1, sampleRate: 16_000 };

  /** The options but those of the connection are what to ask of a session.
   *  @param {StreamOptions} [options] */
  constructor({
    url,
    path,
    token,
    io,
    connectTimeoutS,
    patience,
    bufferMs,
    keepConnection,
    ...session
  } = {}) {
    const buffer = { bufferMs: bufferMs ?? BUFFER_MS, keepConnection: keepConnection ?? false };
    const { language } = session;
    this.#client = new SessionClient({ url, path, token, io, language, ...buffer }, this.#events);
    this.#connectTimeoutS = timeoutOf({ connectTimeoutS, patience }, "connectTimeoutS") ?? CONNECT_TIMEOUT_S;
    this.#defaults = session;
  }

  get state() {
    return this.#client.link.state;
  }

  get token() {
    return this.#client.link.token;
  }

  /** Milliseconds of audio that wait to be sent or acknowledged. */
  get bufferedMs() {
    return this.#client.outbox.ms;
  }

  /** Call `listener(payload)` at each `event`; at "*" `listener({event, payload})` for each message of the server,
   *  under its name on the wire, those that this client does not know among them.
   *  @template {keyof StreamEvents} E
   *  @param {E} event @param {(payload: StreamEvents[E]) => void} listener */
  on(event, listener) {
    this.#events.on(event, listener);
    return this;
  }

  /** @template {keyof StreamEvents} E
   *  @param {E} event @param {(payload: StreamEvents[E]) => void} listener */
  off(event, listener) {
    this.#events.off(event, listener);
    return this;
  }

  [Symbol.asyncIterator]() {
    return this.#events.loop();
  }

  /** Connect now, before a session is wanted; `token` replaces the one given at first.
   *  @param {Token} [token] */
  connect(token) {
    return this.#client.link.connect(token);
  }

  /** The network seems to be back: try at once. */
  hurry() {
    this.#client.link.hurry();
  }

  /** Open a session; gives the server's answer. Audio that is sent meanwhile waits.
   *  @param {SessionOptions} [session] */
  async open(session = {}) {
    const format = { encoding: "pcm_s16le", channels: 1, sampleRate: 16_000 };
    const options = { ...format, ...this.#defaults, ...session };
    this.#client.begin(toWire(options), isRaw(options.encoding));
    this.#format = options;
    return this.#client.open(this.#connectTimeoutS);
  }

  /** Take audio: sent at once if possible, kept if not. False when there is no room for it, or no session.
   *  @param {Audio} audio */
  send(audio) {
    if (!this.#client.takesAudio) return false;
    const { outbox } = this.#client;
    const bytes = toBytes(audio, this.#format);
    const perMoment = bytesPerMoment(this.#format);
    const perMs = (perMoment * this.#format.sampleRate) / 1000;
    const ms = bytes.length / perMs;
    if (!outbox.hasRoom(ms)) {
      this.#events.emit("dropped", { ms });
      return false;
    }
    const moments = Math.round((this.#format.sampleRate * PIECE_MS) / 1000);
    const piece = outbox.joinable ? perMoment * moments : bytes.length;
    for (let at = 0; at < bytes.length; at += piece) {
      const part = bytes.subarray(at, at + piece);
      this.#client.push(part, part.length / perMs);
    }
    this.#client.restartIfClosed();
    return true;
  }

  /** Resolves once at most `ms` of audio wait: for callers that have audio faster than real time. */
  async drained(ms = 0) {
    await this.#client.until(() => this.bufferedMs <= ms, Infinity);
  }

  /** Resolves once everything given so far has been scored and told. */
  async flush() {
    await settle(this.#client, "flush", this.#connectTimeoutS);
  }

  /** The scores of a stretch of the last ten minutes of the session, as far as they are there. `channel`: of a
   *  session with two; `present`: thresholds of labels, where the server's 0.25 is not wanted.
   *  @param {number} beginMs @param {number} endMs @param {SpanOptions} [options]
   *  @returns {Promise<SpanResult>} */
  async span(beginMs, endMs, options = {}) {
    await this.#client.until(() => this.#client.session !== null, this.#connectTimeoutS);
    const session_id = /** @type {Session} */ (this.#client.session).session_id;
    const asked = { session_id, begin_ms: Math.round(beginMs), end_ms: Math.round(endMs), ...options };
    const answer = await this.#client.link.ask("span", asked, ANSWER_MS);
    if (!answer.ok) throw new EmotionError(answer.error.code, answer.error.message, answer.error);
    return answer;
  }

  /** Send what is left, close the session; gives its summary.
   *  @param {StopOptions} [options]
   *  @returns {Promise<Summary>} */
  async stop(options = {}) {
    this.#client.beginStop();
    try {
      const timeoutS = timeoutOf(options, "connectTimeoutS") ?? this.#connectTimeoutS;
      const summary = await settle(this.#client, "stop", timeoutS);
      return /** @type {Summary} */ (summary);
    } finally {
      this.#client.end();
    }
  }

  /** Hang up. A session that is open ends without a summary, and audio that waits is thrown away. */
  close() {
    this.#client.abandon();
  }
}

/** sampleRate → sample_rate, and so on: options that a newer server knows need no newer client.
 *  @param {object} options */
function toWire(options) {
  const snake = (/** @type {string} */ name) =>
    name.replace(/[A-Z]/g, (capital) => `_${capital.toLowerCase()}`);
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given.map(([name, value]) => [snake(name), value]));
}
