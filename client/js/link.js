/* The connection under a stream: made by Socket.IO, tried again for as long as it is wanted. Knows no sessions. */

import { EmotionError } from "./errors.js";
import { rootOf } from "./server.js";

const ATTEMPT_MS = 4_000; // for a connection: a network that swallows packets must not eat up the time to resume
const RETRY_MS = 1_000;
const REFUSED_RETRY_MS = 5_000;
const PLACES = ["socket.io-client", new URL("./socket.io.esm.min.js", import.meta.url).href];

export class Link {
  /** `onState(state)`: connecting · online · offline · unauthorized · closed. `onMessage(event, payload)`: from the
   *  server. `onRefused({code, message})`: it will have no connection now, and is asked again. */
  constructor({ url, path, token, io }, { onState, onMessage, onRefused }) {
    Object.assign(this, { root: rootOf(url), path, token, io, onState, onMessage, onRefused });
    this.wanted = false;
    this.state = "closed";
  }

  get online() {
    return this.socket?.connected ?? false;
  }

  /** Connect, and stay connected. Throws only when there is no Socket.IO to be found. */
  async connect(token = this.token) {
    this.token = token;
    this.wanted = true;
    if (this.online) return;
    this.become("connecting");
    this.socket ??= this.make(await findIo(this.io));
    if (this.wanted) this.socket.connect();
  }

  make(io) {
    const socket = io(this.root.origin, {
      path: this.path ?? `${this.root.pathname}socket.io`,
      forceNew: true, // streams of one page would else share a connection, and each other's fate
      autoConnect: false,
      transports: ["websocket", "polling"],
      tryAllTransports: true,
      timeout: ATTEMPT_MS,
      reconnectionDelay: 500,
      reconnectionDelayMax: 3_000, // servers keep a broken session for seconds, not minutes
      auth: (give) => give(this.token ? { token: this.token } : {}),
    });
    socket.on("connect", () => this.become("online"));
    socket.on("disconnect", (reason) => {
      if (!this.wanted) return;
      this.become("offline");
      // Socket.IO reconnects by itself unless the server hung up; a server that shuts down comes back.
      if (reason === "io server disconnect") this.retryIn(RETRY_MS);
    });
    socket.on("connect_error", ({ data }) => {
      if (!this.wanted) return;
      const unauthorized = data?.code === "UNAUTHORIZED";
      this.become(unauthorized ? "unauthorized" : "offline");
      if (!data?.code || unauthorized) return;
      this.onRefused(data);
      this.retryIn(REFUSED_RETRY_MS); // after an answer Socket.IO does not retry
    });
    socket.onAny((event, payload) => this.onMessage(event, payload));
    return socket;
  }

  become(state) {
    this.state = state;
    this.onState(state);
  }

  retryIn(ms) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.wanted && this.socket.connect(), ms);
  }

  /** The network seems to be back: try now, not when the next attempt is due. */
  hurry() {
    if (this.socket && this.wanted && !this.online) this.socket.disconnect().connect();
  }

  /** The connection is there and answers nothing: make a new one. */
  renew() {
    this.socket?.io.engine?.close();
  }

  emit(event, payload, answered) {
    if (answered) this.socket.emit(event, payload, answered);
    else this.socket.emit(event, payload);
  }

  /** The answer to an event; with `ok: false` and DISCONNECTED when none comes in time. */
  async ask(event, payload, timeoutMs) {
    try {
      return await this.socket.timeout(timeoutMs).emitWithAck(event, payload);
    } catch {
      return { ok: false, error: { code: "DISCONNECTED", message: `no answer to ${event}` } };
    }
  }

  close() {
    this.wanted = false;
    clearTimeout(this.timer);
    this.socket?.disconnect();
    if (this.state !== "closed") this.become("closed");
  }
}

/** Socket.IO: as given, as a global, from the page's import map, or the file beside this one. */
async function findIo(given) {
  if (given ?? globalThis.io) return given ?? globalThis.io;
  for (const place of PLACES) {
    try {
      return (await import(/* @vite-ignore */ place)).io;
    } catch {
      // Not there: the next place.
    }
  }
  throw new EmotionError(
    "DISCONNECTED",
    "Socket.IO is missing: pass it as the option `io`, or see docs/client-browser.md",
  );
}
