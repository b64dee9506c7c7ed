/* What goes wrong, by name. The codes are those of docs/protocol.md; this module adds three of its own:
   DISCONNECTED (no connection, or it broke), PROTOCOL (the answer is not one of an emotion-stream server) and
   CLOSED (the stream has been stopped, or was never opened). */

export class EmotionError extends Error {
  /** `status`: of the HTTP answer, where there was one. `retryAfter`: seconds that the server asks to wait. */
  constructor(code, message, { status, retryAfter, cause } = {}) {
    super(message, { cause });
    this.name = "EmotionError";
    this.code = code;
    this.status = status;
    this.retryAfter = retryAfter;
  }
}
