/* Live streaming: one session at a time over a connection of its own, and what keeps it going when the network
   does not. docs/client-browser.md describes the options; these are the events:

     result     the emotion of some frames (emotion_result)   frame   of one frame, where `frameResults` was asked for
     speech     speech begins or ends                         utterance   the emotion of a stretch of speech
     lost       speech that gets no scores                    alert   a rule of the server's has fired
     summary    a session has ended; its totals               state   {state}: connecting · online · offline ·
     error      an EmotionError: the server refused audio             unauthorized · closed
                or (`fatal`) the session, for good            dropped   {ms}: audio given while the buffer was full
     session    a session is open: the server's answer, with `replaced`: true if an earlier one could not be resumed,
                and `origin_ms`: where its 0 ms lies in everything given to `send` since `open`
     waiting    {code, message}: the server wants a pause, or has no room yet; it is asked again. null: that is over
     *          {event, payload}: every message of the server, under its name on the wire */

import { bytesPerMoment, toBytes } from "./audio.js";
import { EmotionError } from "./errors.js";
import { ANSWER_MS, Keeper } from "./keeper.js";
import { PASSING } from "./sender.js";

const BUFFER_MS = 30_000;
const PIECE_MS = 1_000; // longer audio is cut: servers limit the length of a chunk
const RETRY_MS = 1_000;
const SETTLE_MS = 30_000; // for `flush` and `stop`: the server scores what is left first

export class EmotionStream extends Keeper {
  /** `patience`: seconds that `open` waits for a server that is away, busy or loading, and that `flush` and `stop`
   *  wait for a connection that is broken. `keepConnection`: `stop` leaves the connection open, for the next `open`.
   *  `session`: what to ask of a session (sampleRate, channels, encoding, frameResults, name, tags …). */
  constructor({
    url,
    path,
    token,
    io,
    patience = 30,
    bufferMs = BUFFER_MS,
    keepConnection = false,
    ...session
  } = {}) {
    super({ url, path, token, io, bufferMs, keepConnection });
    this.patience = patience;
    this.defaults = session;
  }

  get state() {
    return this.link.state;
  }

  get token() {
    return this.link.token;
  }

  /** Milliseconds of audio that wait to be sent or acknowledged. */
  get bufferedMs() {
    return this.outbox.ms;
  }

  /** Connect now, before a session is wanted; `token` replaces the one given at first. */
  connect(token) {
    return this.link.connect(token);
  }

  /** The network seems to be back: try at once. */
  hurry() {
    this.link.hurry();
  }

  /** Open a session; gives the server's answer. Audio that is sent meanwhile waits. */
  async open(session = {}) {
    if (this.wanted) throw new EmotionError("CLOSED", "this stream has a session; stop it first");
    const options = { encoding: "pcm_s16le", channels: 1, sampleRate: 16_000, ...this.defaults, ...session };
    this.format = { encoding: options.encoding, channels: options.channels, rate: options.sampleRate };
    this.outbox.clear();
    this.outbox.joinable = options.encoding !== "wav";
    this.givenMs = 0; // audio taken by `send` so far
    this.earlier = false; // had this run a session before?
    this.received = { id: undefined, count: 0 }; // events so far, of this session
    this.resumeToken = this.failed = this.summary = undefined;
    const wanted = (this.wanted = toWire(options));
    try {
      await this.link.connect();
      if (this.link.online) this.start();
      await this.until(() => this.session, this.patience);
      return this.session;
    } catch (problem) {
      if (this.wanted === wanted) this.end();
      throw problem;
    }
  }

  /** Take audio: sent at once if possible, kept if not. False when there is no room for it, or no session. */
  send(audio) {
    if (!this.wanted || this.stopping) return false;
    const { format } = this;
    const bytes = toBytes(audio, format);
    const perMs = (bytesPerMoment(format) * format.rate) / 1000;
    const ms = bytes.length / perMs;
    if (!this.outbox.hasRoom(ms)) {
      this.tell("dropped", { ms });
      return false;
    }
    this.givenMs += ms;
    const piece = this.outbox.joinable
      ? bytesPerMoment(format) * Math.round((format.rate * PIECE_MS) / 1000)
      : bytes.length;
    for (let at = 0; at < bytes.length; at += piece) {
      const part = bytes.subarray(at, at + piece);
      this.sender.push(part, part.length / perMs);
    }
    if (this.summary && !this.session && this.link.online) this.start(); // the server had closed an idle session
    return true;
  }

  /** Resolves once at most `ms` of audio wait: for callers that have audio faster than real time. */
  drained(ms = 0) {
    return this.until(() => this.bufferedMs <= ms, Infinity);
  }

  /** Resolves once everything given so far has been scored and told. */
  async flush() {
    await this.settle("flush");
  }

  /** Send what is left, close the session; gives its summary. */
  async stop({ patience = this.patience } = {}) {
    if (!this.wanted || this.stopping) throw new EmotionError("CLOSED", "there is no session to stop");
    this.stopping = true;
    try {
      return await this.settle("stop", patience);
    } finally {
      this.end();
    }
  }

  /** Hang up. A session that is open ends without a summary, and audio that waits is thrown away. */
  close() {
    if (this.session) this.link.emit("stop", { session_id: this.session.session_id });
    else if (this.starting && this.link.online) this.link.emit("stop", {}); // the one that is being opened
    this.keepConnection = false;
    this.failed = new EmotionError("CLOSED", "the stream was closed");
    this.end();
  }

  /** `flush` or `stop`: as often as it takes for the connection to hold until the answer. */
  async settle(event, patience = this.patience) {
    let asked = false;
    const gone = () => this.summary && !this.session && !this.bufferedMs;
    for (;;) {
      await this.untilSent(gone, patience);
      if (gone()) return this.summary; // the server has closed it, and said everything
      const { session } = this;
      if (asked && event === "stop" && !session.resumed) {
        await this.link.ask("stop", { session_id: session.session_id }, ANSWER_MS); // an empty one in its place
        throw new EmotionError(
          "DISCONNECTED",
          "the connection broke at the end: everything was scored, the summary is lost",
        );
      }
      asked = true;
      const answer = await this.link.ask(event, { session_id: session.session_id }, SETTLE_MS);
      if (answer.ok) return event === "stop" ? this.lastWord(answer) : answer;
      if (this.summary?.session_id === session.session_id) return this.summary; // it came, and then the network broke
      if (answer.error.code === "DISCONNECTED") this.link.renew();
      else if (!PASSING.has(answer.error.code))
        throw new EmotionError(answer.error.code, answer.error.message);
      await pause(RETRY_MS);
    }
  }

  /** The summary, once it has come as an event too: after all results, which may be behind the answer to `stop`. */
  async lastWord(answer) {
    const heard = () => this.summary?.session_id === answer.session_id;
    await this.until(heard, ANSWER_MS / 1000).catch(() => undefined);
    return this.summary ?? answer;
  }

  /** All audio is with the server. Patience is for standstill: a long backlog takes the time that it takes. */
  async untilSent(gone, patience) {
    for (;;) {
      const before = this.bufferedMs;
      try {
        return await this.until(() => gone() || (this.session && !this.bufferedMs), patience);
      } catch (problem) {
        if (problem.code !== "DISCONNECTED" || this.bufferedMs >= before) throw problem;
      }
    }
  }
}

/** sampleRate → sample_rate, and so on: options that a newer server knows need no newer client. */
function toWire(options) {
  const snake = (name) => name.replace(/[A-Z]/g, (capital) => `_${capital.toLowerCase()}`);
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given.map(([name, value]) => [snake(name), value]));
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
