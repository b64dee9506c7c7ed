/* A file → its emotion, over POST /api/v1/emotion/recognize. Uses XMLHttpRequest: fetch still cannot tell how
   much of an upload has been sent. The answer comes as lines of JSON while the server works. */

import { timeoutOf, warnRenamed } from "./deprecated.js";
import { EmotionError } from "./errors.js";
import { rootOf } from "./server.js";
import { said } from "./words.js";

/** @import { RecognizeOptions, Recognition } from "./emotion-stream.js" */

const RETRY_S = 1;
const BROKEN =
  "the connection broke before the answer came; is the server up, and does it take files this large?";

/** The lines of an answer, read as they come; the last one is the result, or the reason why there is none. */
class Answer {
  #request;
  #hooks;
  #language;
  #at = 0;
  /** @type {any} */
  #last;

  /** @param {XMLHttpRequest} request @param {Pick<RecognizeOptions, "onStep" | "onProgress">} hooks
   *  @param {string} [language] of what is wrong */
  constructor(request, hooks, language) {
    this.#request = request;
    this.#hooks = hooks;
    this.#language = language;
  }

  get #isLines() {
    return this.#request.getResponseHeader("Content-Type")?.startsWith("application/x-ndjson") ?? false;
  }

  /** What has come since; `complete`: there is no more to come, be the last line ended or not. */
  read(complete = false) {
    if (!this.#isLines) return;
    const text = this.#request.responseText;
    const end = complete ? text.length : text.lastIndexOf("\n") + 1;
    if (end <= this.#at) return;
    for (const line of text.slice(this.#at, end).split("\n"))
      if (line.trim()) this.#take(parse(line, this.#language));
    this.#at = end;
  }

  /** @param {any} line */
  #take(line) {
    if (line.step) this.#hooks.onStep?.(line.step);
    else if (line.progress) this.#hooks.onProgress?.(line.progress);
    else this.#last = line;
  }

  /** @returns {Recognition} */
  result() {
    const request = this.#request;
    this.read(true);
    const answer = this.#isLines ? this.#last : parse(request.responseText, this.#language, request.status);
    if (answer?.error) {
      const { code, message, retryable, status = request.status, retry_after: named } = answer.error;
      const retryAfter = Number(named ?? request.getResponseHeader("Retry-After")) || undefined;
      throw new EmotionError(code, message, { status, retryAfter, retryable });
    }
    const result = this.#isLines ? answer?.result : answer;
    if (result && request.status === 200) return result;
    const why = said("the answer ended without a result", this.#language);
    throw new EmotionError("PROTOCOL", why, { status: request.status });
  }
}

/** Recognize the emotion of `file`. Gives the result as docs/api.md describes it; throws EmotionError, or the
 *  signal's reason when it is aborted.
 *
 *  url            where the server is; default: where this module came from
 *  token          the access token, where the operator has set one
 *  granularity    "utterance" (default) or "frame"
 *  language       "zh" or "en": of the steps and of what is wrong; default: the browser's
 *  embedding      true: the result's files hold embedding.npy too
 *  retryTimeoutS  seconds during which it is tried again after a retryable error, such as BUSY; default 0
 *  signal         an AbortSignal
 *  onUpload       (fraction 0…1) · onStep ({step, ms, detail}) · onProgress ({done_s, total_s})
 *
 *  @param {Blob} file @param {RecognizeOptions} [options] */
export async function recognize(file, options = {}) {
  const deadline = Date.now() + 1000 * (timeoutOf(options, "retryTimeoutS") ?? 0);
  for (;;) {
    try {
      return await ask(file, options);
    } catch (problem) {
      if (!(problem instanceof EmotionError) || !problem.retryable) throw problem;
      const wait = 1000 * (problem.retryAfter ?? RETRY_S);
      if (Date.now() + wait > deadline) throw problem;
      await pause(wait, options.signal);
    }
  }
}

/** @type {typeof recognize} */
export function recognise(file, options) {
  warnRenamed("recognise", "recognize");
  return recognize(file, options);
}

/** @param {Blob} file @param {RecognizeOptions} options @returns {Promise<Recognition>} */
function ask(file, { url, token, granularity = "utterance", embedding = false, language, signal, ...hooks }) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const request = new XMLHttpRequest();
    const answer = new Answer(request, hooks, language);
    const abort = () => {
      request.abort();
      reject(signal?.reason);
    };
    request.upload.onprogress = ({ loaded, total }) => hooks.onUpload?.(total ? loaded / total : 0);
    request.upload.onload = () => hooks.onUpload?.(1);
    const guarded = (/** @type {() => void} */ act) => () => {
      try {
        act();
      } catch (problem) {
        reject(problem);
        request.abort();
      }
    };
    request.onprogress = guarded(() => answer.read());
    request.onload = guarded(() => resolve(answer.result()));
    request.onerror = () => reject(new EmotionError("DISCONNECTED", said(BROKEN, language)));
    request.onloadend = () => signal?.removeEventListener("abort", abort);
    signal?.addEventListener("abort", abort);
    request.open("POST", new URL("api/v1/emotion/recognize", rootOf(url)));
    request.setRequestHeader("Accept", "application/x-ndjson");
    if (language) request.setRequestHeader("Accept-Language", language);
    if (token) request.setRequestHeader("Authorization", `Bearer ${token}`);
    const form = new FormData();
    form.append("granularity", granularity); // before the file: the server can read it while the file arrives
    form.append("extract_embedding", String(embedding));
    form.append("audio_file", file, (file instanceof File && file.name) || "recording");
    request.send(form);
  });
}

/** @param {string} text @param {string} [language] @param {number} [status] @returns {any} */
function parse(text, language, status) {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const message = said("not an answer of an emotion-stream server: {text}", language, {
      text: text.slice(0, 80),
    });
    throw new EmotionError("PROTOCOL", message, { status, cause });
  }
}

/** @param {number} ms @param {AbortSignal} [signal] @returns {Promise<void>} */
function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const done = () => {
      signal?.removeEventListener("abort", abort);
      resolve();
    };
    const timer = setTimeout(done, ms);
    function abort() {
      clearTimeout(timer);
      reject(signal?.reason);
    }
    signal?.addEventListener("abort", abort, { once: true });
  });
}
