/* What goes wrong, by name. The codes are those of docs/protocol.md; this module adds three of its own:
   DISCONNECTED (no connection, or it broke), PROTOCOL (the answer is not one of an emotion-stream server) and
   CLOSED (the stream has been stopped, or was never opened). */

/** @import { EmotionErrorOptions, ServerError } from "./emotion-stream.js" */

// What may succeed a little later, for servers before 0.2.0: later ones say so themselves, in `retryable`.
const RETRYABLE = new Set([
  "BUSY",
  "INFERENCE_TIMEOUT",
  "NOT_READY",
  "NO_ROOM",
  "OVERLOADED",
  "RATE_LIMITED",
  "TOO_MANY_SESSIONS",
]);

/** Whether the same may succeed a little later.
 *  @param {Pick<ServerError, "code" | "retryable">} error */
export function isRetryable({ code, retryable }) {
  return retryable ?? RETRYABLE.has(code);
}

export class EmotionError extends Error {
  /** `status`: of the HTTP answer, where there was one. `retryAfter`: seconds that the server asks to wait.
   *  `retryable`: as the server says. `fatal`: it ended the session.
   *  @param {string} code
   *  @param {string} message
   *  @param {EmotionErrorOptions} [options] */
  constructor(code, message, { status, retryAfter, retryable, fatal = false, cause } = {}) {
    super(message, { cause });
    this.name = "EmotionError";
    this.code = code;
    this.status = status;
    this.retryAfter = retryAfter;
    this.retryable = isRetryable({ code, retryable });
    this.fatal = fatal;
  }
}
