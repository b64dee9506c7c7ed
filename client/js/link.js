/* The connection under a stream: made by Socket.IO, tried again for as long as it is wanted. Knows no sessions. */

import { EmotionError } from "./errors.js";
import { rootOf } from "./server.js";
import { said } from "./words.js";

/** @import { ConnectionState, ServerError, SocketIo, Token } from "./emotion-stream.js" */
/** @typedef {{onState: (state: ConnectionState) => void, onMessage: (event: string, payload: any) => void,
 *             onRefused: (error: ServerError) => void, language: () => string | undefined}} Hooks */

const ATTEMPT_MS = 4_000; // for a connection: a network that swallows packets must not eat up the time to resume
const RETRY_MS = 1_000;
const REFUSED_RETRY_MS = 5_000;
const PLACES = ["socket.io-client", new URL("./socket.io.esm.min.js", import.meta.url).href];

/** A token, from whoever renews it if need be; none where that fails: the server then says so.
 *  @param {Token | undefined} token */
export async function tokenOf(token) {
  if (typeof token !== "function") return token;
  try {
    return await token();
  } catch {
    return undefined;
  }
}

export class Link {
  /** @type {ConnectionState} */
  #state = "closed";
  #wanted = false;
  #root;
  #path;
  #token;
  #io;
  #hooks;
  /** @type {any} Socket.IO's socket, once there is one */
  #socket;
  /** @type {number | undefined} */
  #timer;

  /** `onState(state)`; `onMessage(event, payload)`: from the server; `onRefused(error)`: it will have no
   *  connection now, and is asked again. `language()`: of what is wrong.
   *  @param {{url?: string | URL, path?: string, token?: Token, io?: SocketIo}} where
   *  @param {Hooks} hooks */
  constructor({ url, path, token, io }, hooks) {
    this.#root = rootOf(url);
    this.#path = path;
    this.#token = token;
    this.#io = io;
    this.#hooks = hooks;
  }

  get state() {
    return this.#state;
  }

  get token() {
    return this.#token;
  }

  /** @returns {boolean} */
  get online() {
    return this.#socket?.connected ?? false;
  }

  /** Connect, and stay connected. Throws only when there is no Socket.IO to be found.
   *  @param {Token} [token] */
  async connect(token = this.#token) {
    this.#token = token;
    this.#wanted = true;
    if (this.online) return;
    this.#become("connecting");
    this.#socket ??= this.#make(await this.#findIo(this.#io));
    if (this.#wanted) this.#socket.connect();
  }

  /** @param {SocketIo} io */
  #make(io) {
    const lang = this.#hooks.language();
    const socket = io(this.#root.origin, {
      path: this.#path ?? `${this.#root.pathname}socket.io`,
      forceNew: true, // streams of one page would else share a connection, and each other's fate
      autoConnect: false,
      transports: ["websocket", "polling"],
      tryAllTransports: true,
      timeout: ATTEMPT_MS,
      reconnectionDelay: 500,
      reconnectionDelayMax: 3_000, // servers keep a broken session for seconds, not minutes
      query: lang ? { lang } : {}, // pages cannot set Accept-Language for a WebSocket
      // Asked at each connection: one that lasts for minutes is renewed by whoever made it.
      auth: (/** @type {(auth: object) => void} */ give) =>
        void tokenOf(this.#token).then((token) => give(token ? { token } : {})),
    });
    socket.on("connect", () => this.#become("online"));
    socket.on("disconnect", (/** @type {string} */ reason) => {
      if (!this.#wanted) return;
      this.#become("offline");
      // Socket.IO reconnects by itself unless the server hung up; a server that shuts down comes back.
      if (reason === "io server disconnect") this.#retryIn(RETRY_MS);
    });
    socket.on("connect_error", (/** @type {{data?: ServerError}} */ { data }) => {
      if (!this.#wanted) return;
      // A key that lacks the scope is as good as a wrong one: another has to be given.
      const unauthorized = ["UNAUTHORIZED", "FORBIDDEN"].includes(data?.code ?? "");
      this.#become(unauthorized ? "unauthorized" : "offline");
      if (!data?.code || unauthorized) return;
      this.#hooks.onRefused(data);
      this.#retryIn(REFUSED_RETRY_MS); // after an answer Socket.IO does not retry
    });
    socket.onAny((/** @type {string} */ event, /** @type {any} */ payload) =>
      this.#hooks.onMessage(event, payload),
    );
    return socket;
  }

  /** @param {ConnectionState} state */
  #become(state) {
    this.#state = state;
    this.#hooks.onState(state);
  }

  /** @param {number} ms */
  #retryIn(ms) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#wanted && this.#socket.connect(), ms);
  }

  /** The network seems to be back: try now, not when the next attempt is due. */
  hurry() {
    if (this.#socket && this.#wanted && !this.online) this.#socket.disconnect().connect();
  }

  /** The connection is there and answers nothing: make a new one. */
  renew() {
    this.#socket?.io.engine?.close();
  }

  /** @param {string} event @param {object} payload @param {(answer: any) => void} [onAnswer] */
  emit(event, payload, onAnswer) {
    if (onAnswer) this.#socket.emit(event, payload, onAnswer);
    else this.#socket.emit(event, payload);
  }

  /** The answer to an event; with `ok: false` and DISCONNECTED when none comes in time.
   *  @param {string} event @param {object} payload @param {number} timeoutMs @returns {Promise<any>} */
  async ask(event, payload, timeoutMs) {
    try {
      return await this.#socket.timeout(timeoutMs).emitWithAck(event, payload);
    } catch {
      const message = said("no answer to {event}", this.#hooks.language(), { event });
      return { ok: false, error: { code: "DISCONNECTED", message } };
    }
  }

  close() {
    this.#wanted = false;
    clearTimeout(this.#timer);
    this.#socket?.disconnect();
    if (this.#state !== "closed") this.#become("closed");
  }

  /** Socket.IO: as given, as a global, from the page's import map, or the file beside this one.
   *  @param {SocketIo} [given] @returns {Promise<SocketIo>} */
  async #findIo(given) {
    const known = given ?? /** @type {{io?: SocketIo}} */ (globalThis).io;
    if (known) return known;
    for (const place of PLACES) {
      try {
        return (await import(/* @vite-ignore */ place)).io;
      } catch {
        // Not there: the next place.
      }
    }
    const missing = "Socket.IO is missing: pass it as the option `io`, or see docs/client-browser.md";
    throw new EmotionError("DISCONNECTED", said(missing, this.#hooks.language()));
  }
}
