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
import { Emitter } from "./emitter.js";
import { EmotionError } from "./errors.js";
import { Link } from "./link.js";
import { Outbox } from "./outbox.js";
import { PASSING, Sender } from "./sender.js";

const BUFFER_MS = 30_000;
const PIECE_MS = 1_000; // longer audio is cut: servers limit the length of a chunk
const RETRY_MS = 1_000;
const ANSWER_MS = 8_000;
const SETTLE_MS = 30_000; // for `flush` and `stop`: the server scores what is left first
const NAMES = {
  emotion_result: "result",
  frame_result: "frame",
  speech: "speech",
  utterance_result: "utterance",
  lost: "lost",
  alert: "alert",
};

export class EmotionStream extends Emitter {
  /** `patience`: seconds that `open` waits for a server that is away, busy or loading, and that `flush` and `stop`
   *  wait for a connection that is broken. `keepConnection`: `stop` leaves the connection open, for the next `open`.
   *  `session`: what to ask of a session (sampleRate, channels, encoding, frameResults, name, tags …). */
  constructor({ url, path, token, io, patience = 30, bufferMs = BUFFER_MS, keepConnection = false, ...session } = {}) {
    super();
    this.patience = patience;
    this.keepConnection = keepConnection;
    this.defaults = session;
    this.wanted = null; // the `start` payload while a session is wanted, else null
    this.session = null; // the server's answer while the session is open on this connection, else null
    this.outbox = new Outbox(bufferMs);
    this.sender = new Sender(this.outbox, {
      onGone: () => this.reopen(),
      onWaiting: (error) => this.tell("waiting", error),
      onRefused: ({ code, message }) => this.tell("error", new EmotionError(code, message)),
      onSilent: () => this.link.renew(),
      onTaken: () => this.wake(),
    });
    this.link = new Link(
      { url, path, token, io },
      {
        onState: (state) => this.linkIs(state),
        onMessage: (event, payload) => this.heard(event, payload),
        onRefused: (error) => this.tell("waiting", error),
      },
    );
    this.waiters = new Set();
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

  // -- what callers do ----------------------------------------------------------------------------

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
    const piece = this.outbox.joinable ? bytesPerMoment(format) * Math.round((format.rate * PIECE_MS) / 1000) : bytes.length;
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

  end() {
    this.wanted = this.session = null;
    this.stopping = false;
    clearTimeout(this.retry);
    this.sender.close();
    this.outbox.clear();
    if (!this.keepConnection) this.link.close();
    this.wake();
    this.endLoops();
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
        throw new EmotionError("DISCONNECTED", "the connection broke at the end: everything was scored, the summary is lost");
      }
      asked = true;
      const answer = await this.link.ask(event, { session_id: session.session_id }, SETTLE_MS);
      if (answer.ok) return event === "stop" ? this.lastWord(answer) : answer;
      if (this.summary?.session_id === session.session_id) return this.summary; // it came, and then the network broke
      if (answer.error.code === "DISCONNECTED") this.link.renew();
      else if (!PASSING.has(answer.error.code)) throw new EmotionError(answer.error.code, answer.error.message);
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

  // -- the session, as the connection comes and goes ----------------------------------------------

  linkIs(state) {
    if (state !== "online") {
      this.session = null;
      this.sender.close();
    }
    this.tell("state", { state });
    if (state === "online" && this.wanted) this.start();
    if (state === "unauthorized" && this.wanted) this.fail({ code: "UNAUTHORIZED", message: "no token, or a wrong one" });
    this.wake();
  }

  async start() {
    const { wanted, resumeToken: token } = this;
    if (this.starting || this.session) return;
    clearTimeout(this.retry);
    this.starting = true;
    const answer = await this.link.ask("start", token ? { ...wanted, resume_token: token, received: this.received.count } : wanted, ANSWER_MS);
    this.starting = false;
    if (!this.link.online) return;
    if (this.wanted !== wanted) {
      if (answer.ok) this.link.emit("stop", { session_id: answer.session_id }); // nobody wants that one any more
      return void (this.wanted && this.start());
    }
    if (answer.ok) return this.opened(answer);
    const { code } = answer.error;
    // While resuming, the server may still be counting the session that it is about to give back.
    if (PASSING.has(code) || code === "DISCONNECTED" || (code === "TOO_MANY_SESSIONS" && token)) {
      this.tell("waiting", answer.error);
      this.retry = setTimeout(() => this.wanted === wanted && this.link.online && this.start(), RETRY_MS);
    } else if (token) {
      this.resumeToken = undefined; // it will not give the old session back: ask for a new one
      this.start();
    } else {
      this.fail(answer.error);
    }
  }

  opened(answer) {
    this.session = answer;
    this.summary = undefined;
    this.resumeToken = answer.resume_token;
    if (!answer.resumed) this.originMs = this.givenMs - this.outbox.ms;
    if (answer.session_id !== this.received.id) this.received = { id: answer.session_id, count: 0 };
    this.tell("waiting", null);
    this.tell("session", { ...answer, replaced: this.earlier && !answer.resumed, origin_ms: this.originMs });
    this.earlier = true;
    const emit = (chunk, seq, answered) =>
      this.link.emit("audio_stream", { session_id: answer.session_id, chunk, seq }, answered);
    this.sender.open(emit, { resumed: answer.resumed, nextSeq: answer.next_seq });
    this.wake();
  }

  heard(event, payload) {
    this.tell("*", { event, payload });
    if (event !== "error" && payload?.session_id) this.count(payload.session_id);
    if (event === "session_summary") this.closedByServer(payload);
    else if (NAMES[event]) this.tell(NAMES[event], payload);
  }

  /** An event of a session has come. When it is resumed, the server sends again what was under way. */
  count(id) {
    if (this.received.id !== id) this.received = { id, count: 0 };
    this.received.count++;
  }

  closedByServer(summary) {
    if (summary.session_id !== this.session?.session_id) return; // not ours any more
    this.summary = summary;
    this.tell("summary", summary);
    if (summary.reason === "stop") return; // the answer to `stop` follows
    this.resumeToken = undefined;
    this.session = null;
    this.sender.close();
    // After a silence of minutes the next audio opens another one; nobody wants it before.
    if (this.outbox.ms || !(summary.reason === "idle" || this.stopping)) this.start();
    this.wake();
  }

  reopen() {
    this.session = null;
    this.sender.close();
    if (this.wanted && this.link.online) this.start();
  }

  /** The session is refused for good. */
  fail({ code, message }) {
    this.failed = Object.assign(new EmotionError(code, message), { fatal: true });
    if (this.earlier || !this.waiters.size) this.tell("error", this.failed);
    this.end();
  }

  // -- waiting ------------------------------------------------------------------------------------

  wake() {
    for (const look of [...this.waiters]) look();
  }

  /** Resolves once `holds()` is true; looked at whenever something has changed. */
  until(holds, patience) {
    return new Promise((resolve, reject) => {
      const away = () => reject(new EmotionError("DISCONNECTED", `no session with the server within ${patience} s`));
      const timer = patience < 1e6 ? setTimeout(() => (this.waiters.delete(look), away()), 1000 * patience) : undefined;
      const look = () => {
        const over = !this.wanted;
        if (!over && !holds()) return;
        this.waiters.delete(look);
        clearTimeout(timer);
        if (over) reject(this.failed ?? new EmotionError("CLOSED", "the stream has been stopped"));
        else resolve();
      };
      this.waiters.add(look);
      look();
    });
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
