/* A client of the wire contract: one connection, one session, and what keeps them going when the network
   does not. Independent of the page: hand it Socket.IO's `io`, listen with `on`, give it PCM16 with `send`.

   Besides the server's own events (emotion_result, speech, utterance_result, lost, alert, session_summary,
   error; the last repeats what comes as an answer too) it tells:
     state    {state}: connecting · online · offline · unauthorized
     session  the answer to `start`, with `replaced`: true if an earlier session could not be resumed, and
              `origin_ms`: where this session's 0 ms lies in everything given to `send`
     waiting  {code, message}: the server will not open the session, or take audio, just yet; it is asked
              again. null: that is over
     refused  {code, message}: the server refused audio or a session, for good
     dropped  {ms}: audio given while the outbox was full
*/

import { PASSING, Sender } from "./sender.js";

const WIRE_EVENTS = ["emotion_result", "frame_result", "speech", "utterance_result", "lost", "alert", "error"];
const ATTEMPT_MS = 4_000; // for a connection: a network that swallows packets must not eat up the time to resume
const RETRY_MS = 1_000;
const REFUSED_RETRY_MS = 5_000;
const ANSWER_MS = 8_000; // how long an answer to `start` or `stop` may take
const DRAIN_MS = 8_000; // how long `stop` waits for the audio that is still to be sent

export class Connection {
  constructor({ io, url, path, token }) {
    this.listeners = new Map();
    this.token = token;
    this.wanted = null; // the `start` payload while a session is wanted, else null
    this.session = null; // the server's answer while the session is open on this connection, else null
    this.sender = new Sender({
      onGone: () => this.reopen(),
      onWaiting: (error) => this.tell("waiting", error),
      onRefused: (error) => this.tell("refused", error),
      onSilent: () => this.socket.io.engine.close(), // Socket.IO then makes a new connection
    });
    this.socket = io(url, {
      path,
      autoConnect: false,
      transports: ["websocket", "polling"],
      tryAllTransports: true,
      timeout: ATTEMPT_MS,
      reconnectionDelay: 500,
      reconnectionDelayMax: 3_000, // servers keep a broken session for seconds, not minutes
      auth: (give) => give(this.token ? { token: this.token } : {}),
    });
    this.socket.on("connect", () => this.connected());
    this.socket.on("disconnect", (reason) => this.disconnected(reason));
    this.socket.on("connect_error", (problem) => this.notConnected(problem));
    this.socket.on("session_summary", (summary) => this.closedByServer(summary));
    for (const event of WIRE_EVENTS) this.socket.on(event, (payload) => this.tell(event, payload));
  }

  on(event, listener) {
    this.listeners.set(event, [...(this.listeners.get(event) ?? []), listener]);
    return this;
  }

  tell(event, payload) {
    for (const listener of this.listeners.get(event) ?? []) listener(payload);
  }

  // -- the connection -----------------------------------------------------------------------------

  connect(token = this.token) {
    this.token = token;
    this.tell("state", { state: "connecting" });
    this.socket.connect();
  }

  /** The network seems to be back: try now, not when the next attempt is due. */
  hurry() {
    if (!this.socket.connected) this.socket.disconnect().connect();
  }

  connected() {
    this.tell("state", { state: "online" });
    if (this.wanted) this.open();
  }

  disconnected(reason) {
    this.session = null;
    this.sender.close();
    this.tell("state", { state: "offline" });
    // Socket.IO reconnects by itself unless the server hung up; a server that shuts down comes back.
    if (reason === "io server disconnect") setTimeout(() => this.socket.connect(), RETRY_MS);
  }

  notConnected({ data }) {
    const unauthorized = data?.code === "UNAUTHORIZED";
    this.tell("state", { state: unauthorized ? "unauthorized" : "offline" });
    if (data?.code && !unauthorized) {
      this.tell("refused", data);
      setTimeout(() => this.socket.connect(), REFUSED_RETRY_MS); // after an answer Socket.IO does not retry
    }
  }

  // -- the session --------------------------------------------------------------------------------

  /** Open a session, now or as soon as there is a connection. What is given to `send` meanwhile waits. */
  start(options) {
    this.sender.outbox.clear();
    this.givenMs = 0; // audio taken by `send` so far
    this.earlier = false; // had this run a session before?
    this.resumeToken = undefined;
    this.wanted = { encoding: "pcm_s16le", channels: 1, frame_results: false, ...options };
    if (this.socket.connected) this.open();
  }

  async open() {
    const wanted = this.wanted;
    const token = this.resumeToken;
    clearTimeout(this.retry);
    const answer = await this.ask("start", token ? { ...wanted, resume_token: token } : wanted);
    if (this.wanted !== wanted || !this.socket.connected || this.session) return; // overtaken by events
    if (answer.ok) return this.opened(answer);
    const { code } = answer.error;
    // While resuming, the server may still be counting the session that it is about to give back.
    if (PASSING.has(code) || (code === "TOO_MANY_SESSIONS" && token)) {
      this.tell("waiting", answer.error);
      this.retry = setTimeout(() => this.wanted === wanted && this.socket.connected && this.open(), RETRY_MS);
    } else if (token) {
      this.resumeToken = undefined; // it will not give the old session back: ask for a new one
      this.open();
    } else {
      this.wanted = null;
      this.tell("refused", answer.error);
    }
  }

  opened(answer) {
    this.session = answer;
    this.resumeToken = answer.resume_token;
    if (!answer.resumed) this.originMs = this.givenMs - this.sender.outbox.ms;
    this.tell("waiting", null);
    this.tell("session", { ...answer, replaced: this.earlier && !answer.resumed, origin_ms: this.originMs });
    this.earlier = true;
    const emit = (chunk, seq, answered) =>
      this.socket.emit("audio_stream", { session_id: answer.session_id, chunk, seq }, answered);
    this.sender.open(emit, { resumed: answer.resumed, nextSeq: answer.next_seq });
  }

  closedByServer(summary) {
    if (summary.session_id !== this.session?.session_id) return; // ours, after `stop`: the answer says it
    this.tell("session_summary", summary);
    this.reopen();
  }

  reopen() {
    this.session = null;
    this.sender.close();
    if (this.wanted && this.socket.connected) this.open();
  }

  /** Send what is left, close the session and give its summary (null: the connection was away). */
  async stop() {
    const deadline = Date.now() + DRAIN_MS;
    while (this.session && this.sender.outbox.ms > 0 && Date.now() < deadline) await pause(20);
    const session = this.session;
    this.wanted = this.session = null;
    this.sender.close();
    if (!session || !this.socket.connected) return null;
    const answer = await this.ask("stop", { session_id: session.session_id });
    return answer.ok === false ? null : answer;
  }

  /** The answer to an event. No answer in time counts as NOT_READY: worth asking again. */
  async ask(event, payload) {
    try {
      return await this.socket.timeout(ANSWER_MS).emitWithAck(event, payload);
    } catch {
      return { ok: false, error: { code: "NOT_READY", message: `no answer to ${event}` } };
    }
  }

  /** How much audio is waiting to be sent or acknowledged. */
  get keptMs() {
    return this.sender.outbox.ms;
  }

  /** Take `ms` of audio: sent at once if possible, kept if not. False when there is no room for it. */
  send(chunk, ms) {
    if (!this.wanted) return false;
    const taken = this.sender.push(chunk, ms);
    if (taken) this.givenMs += ms;
    else this.tell("dropped", { ms });
    return taken;
  }
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
