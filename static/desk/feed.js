/* The desk's connection: namespace /monitor of the server. It subscribes to all sessions, opens one at a time,
   and takes both up again after a break. */

import { currentLanguage, takeNames } from "../shared/text.js";
import { io } from "../vendor/socket.io-client/socket.io.esm.min.js";

/** @import { ServerError } from "../../client/emotion-stream.js" */
/** @import { SessionMessage } from "./history.js" */
/** @import { Summary } from "./store.js" */
/** @typedef {"connecting" | "online" | "offline" | "unauthorized" | "closed"} LinkState */
/** @typedef {{whole: boolean, sessions: Summary[], gone: string[]}} SummariesMessage as the protocol has it */
/** @typedef {{onState: (state: LinkState) => void, onSummaries: (message: SummariesMessage) => void,
 *             onSession: (message: SessionMessage) => void, onRefused: (error: ServerError) => void,
 *             onMissing: () => void}} Hooks */

const RETRY_MS = 2_000;
const REFUSED_RETRY_MS = 10_000;
const ANSWER_MS = 8_000;

export class Feed {
  #hooks;
  #token;
  /** @type {string | null} the session that is open */
  #opened = null;
  #socket;

  /** `onSession(message)`: of the session that is open. `onMissing()`: it is not on the board.
   *  @param {Hooks} hooks @param {string} [token] */
  constructor(hooks, token) {
    this.#hooks = hooks;
    this.#token = token;
    this.#socket = io("/monitor", {
      path: new URL("socket.io", document.baseURI).pathname,
      query: { lang: currentLanguage() },
      autoConnect: false,
      transports: ["websocket", "polling"],
      tryAllTransports: true,
      reconnectionDelay: 500,
      reconnectionDelayMax: 5_000,
      auth: (/** @type {(auth: object) => void} */ give) => give(this.#token ? { token: this.#token } : {}),
    });
    this.#socket.on("connect", () => this.#onConnect());
    this.#socket.on("disconnect", (/** @type {string} */ reason) => {
      hooks.onState("offline");
      if (reason === "io server disconnect") setTimeout(() => this.#socket.connect(), RETRY_MS);
    });
    this.#socket.on("connect_error", (/** @type {{data?: ServerError}} */ { data }) => this.#onNone(data));
    this.#socket.on("summaries", hooks.onSummaries);
    this.#socket.on("session", (/** @type {SessionMessage} */ message) => {
      if (message.session_id === this.#opened) hooks.onSession(message);
    });
  }

  connect(token = this.#token) {
    this.#token = token;
    this.#hooks.onState("connecting");
    this.#socket.connect();
  }

  #onConnect() {
    this.#hooks.onState("online");
    this.#ask("subscribe");
    if (this.#opened) this.#ask("open", this.#opened);
  }

  /** @param {ServerError} [error] why there is no connection, where the server said so */
  #onNone(error) {
    const unauthorized = ["UNAUTHORIZED", "FORBIDDEN"].includes(error?.code ?? "");
    this.#hooks.onState(unauthorized ? "unauthorized" : error?.code === "CLOSED" ? "closed" : "offline");
    if (!error?.code || unauthorized) return; // Socket.IO tries again; or somebody has to say the token
    this.#hooks.onRefused(error);
    setTimeout(() => this.#socket.connect(), REFUSED_RETRY_MS);
  }

  /** Look at this session in full; null: at none.
   *  @param {string | null} sessionId */
  open(sessionId) {
    if (sessionId === this.#opened) return;
    const before = this.#opened;
    this.#opened = sessionId;
    if (!this.#socket.connected) return;
    if (before) this.#ask("close", before);
    if (sessionId) this.#ask("open", sessionId);
  }

  /** @param {string} event @param {string} [id] of a session */
  async #ask(event, id) {
    const payload = id === undefined ? undefined : { session_id: id };
    let answer;
    try {
      answer = await this.#socket.timeout(ANSWER_MS).emitWithAck(event, payload);
    } catch {
      return; // the connection is going: what is wanted is asked for again when it is back
    }
    if (answer.labels_zh) takeNames(answer.labels_zh);
    if (answer.ok) return;
    if (answer.error.code === "NOT_FOUND" && id === this.#opened) this.#hooks.onMissing();
    else this.#hooks.onRefused(answer.error);
  }
}
