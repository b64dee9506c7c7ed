/* The desk's connection: namespace /monitor of the server. It subscribes to all sessions, opens one at a time,
   and takes both up again after a break. It tells:
     state      connecting · online · offline · unauthorized · closed
     summaries  {whole, sessions, gone}: as the protocol has it
     session    {session_id, whole, …}: of the session that is open
     refused    {code, message}
     missing    the id of a session that could not be opened: it is not on the board */

import { io } from "../vendor/socket.io-client/socket.io.esm.min.js";

const RETRY_MS = 2_000;
const REFUSED_RETRY_MS = 10_000;
const ANSWER_MS = 8_000;

export class Feed {
  /** `tell(event, payload)` */
  constructor(tell, token) {
    this.tell = tell;
    this.token = token;
    this.opened = null; // the session that is open
    this.socket = io("/monitor", {
      path: new URL("socket.io", document.baseURI).pathname,
      autoConnect: false,
      transports: ["websocket", "polling"],
      tryAllTransports: true,
      reconnectionDelay: 500,
      reconnectionDelayMax: 5_000,
      auth: (give) => give(this.token ? { token: this.token } : {}),
    });
    this.socket.on("connect", () => this.connected());
    this.socket.on("disconnect", (reason) => {
      tell("state", "offline");
      if (reason === "io server disconnect") setTimeout(() => this.socket.connect(), RETRY_MS);
    });
    this.socket.on("connect_error", ({ data }) => this.notConnected(data));
    this.socket.on("summaries", (news) => tell("summaries", news));
    this.socket.on("session", (news) => news.session_id === this.opened && tell("session", news));
  }

  connect(token = this.token) {
    this.token = token;
    this.tell("state", "connecting");
    this.socket.connect();
  }

  connected() {
    this.tell("state", "online");
    this.ask("subscribe");
    if (this.opened) this.ask("open", { session_id: this.opened });
  }

  notConnected(data) {
    const state = { UNAUTHORIZED: "unauthorized", CLOSED: "closed" }[data?.code] ?? "offline";
    this.tell("state", state);
    if (!data?.code || state === "unauthorized") return; // Socket.IO tries again; or somebody has to say the token
    this.tell("refused", data);
    setTimeout(() => this.socket.connect(), REFUSED_RETRY_MS);
  }

  /** Look at this session in full; null: at none. */
  open(sessionId) {
    if (sessionId === this.opened) return;
    const before = this.opened;
    this.opened = sessionId;
    if (!this.socket.connected) return;
    if (before) this.ask("close", { session_id: before });
    if (sessionId) this.ask("open", { session_id: sessionId });
  }

  async ask(event, payload) {
    let answer;
    try {
      answer = await this.socket.timeout(ANSWER_MS).emitWithAck(event, payload);
    } catch {
      return; // the connection is going: what is wanted is asked for again when it is back
    }
    if (answer.ok) return;
    if (answer.error.code === "NOT_FOUND" && payload?.session_id === this.opened)
      this.tell("missing", this.opened);
    else this.tell("refused", answer.error);
  }
}
