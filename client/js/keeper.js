/* Keeping one session alive over a connection that comes and goes: opening it, resuming it, sending what waits,
   hearing what the server says. stream.js is what programs see of it. */

import { Emitter } from "./emitter.js";
import { EmotionError } from "./errors.js";
import { Link } from "./link.js";
import { Outbox } from "./outbox.js";
import { PASSING, Sender } from "./sender.js";

const RETRY_MS = 1_000;
export const ANSWER_MS = 8_000;
const NAMES = {
  emotion_result: "result",
  frame_result: "frame",
  speech: "speech",
  utterance_result: "utterance",
  lost: "lost",
  alert: "alert",
};

export class Keeper extends Emitter {
  constructor({ url, path, token, io, bufferMs, keepConnection }) {
    super();
    this.keepConnection = keepConnection;
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

  linkIs(state) {
    if (state !== "online") {
      this.session = null;
      this.sender.close();
    }
    this.tell("state", { state });
    if (state === "online" && this.wanted) this.start();
    if (state === "unauthorized" && this.wanted)
      this.fail({ code: "UNAUTHORIZED", message: "no token, or a wrong one" });
    this.wake();
  }

  async start() {
    const { wanted, resumeToken: token } = this;
    if (this.starting || this.session) return;
    clearTimeout(this.retry);
    this.starting = true;
    const answer = await this.link.ask(
      "start",
      token ? { ...wanted, resume_token: token, received: this.received.count } : wanted,
      ANSWER_MS,
    );
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

  // -- waiting ------------------------------------------------------------------------------------

  wake() {
    for (const look of [...this.waiters]) look();
  }

  /** Resolves once `holds()` is true; looked at whenever something has changed. */
  until(holds, patience) {
    return new Promise((resolve, reject) => {
      const away = () =>
        reject(new EmotionError("DISCONNECTED", `no session with the server within ${patience} s`));
      const timer =
        patience < 1e6 ? setTimeout(() => (this.waiters.delete(look), away()), 1000 * patience) : undefined;
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
