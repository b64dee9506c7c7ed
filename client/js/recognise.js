/* A file → its emotion, over POST /api/v1/emotion/recognize. Uses XMLHttpRequest: fetch still cannot tell how
   much of an upload has been sent. The answer comes as lines of JSON while the server works. */

import { EmotionError } from "./errors.js";
import { rootOf } from "./server.js";

const PASSING = new Set(["BUSY", "NOT_READY"]); // the same request may succeed a little later
const RETRY_S = 1;

/** Recognise the emotion of `file`, a File or Blob. Gives the result as docs/api.md describes it; throws EmotionError,
 *  or the signal's reason when it is aborted.
 *
 *  url         where the server is; default: where this module came from
 *  token       the access token, where the operator has set one
 *  granularity "utterance" (default) or "frame"
 *  embedding   true: the result's files hold embedding.npy too
 *  patience    seconds during which a server that is BUSY or NOT_READY is asked again; default 0
 *  signal      an AbortSignal
 *  onUpload    (fraction 0…1) · onStep ({step, ms, detail}) · onProgress ({done_s, total_s}) */
export async function recognise(file, { patience = 0, ...options } = {}) {
  const deadline = Date.now() + 1000 * patience;
  for (;;) {
    try {
      return await ask(file, options);
    } catch (problem) {
      const wait = 1000 * (problem.retryAfter ?? RETRY_S);
      if (!PASSING.has(problem.code) || Date.now() + wait > deadline) throw problem;
      await pause(wait, options.signal);
    }
  }
}

function ask(file, { url, token, granularity = "utterance", embedding = false, signal, ...tell }) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const request = new XMLHttpRequest();
    const answer = new Answer(request, tell);
    const abort = () => {
      request.abort();
      reject(signal.reason);
    };
    request.upload.onprogress = ({ loaded, total }) => tell.onUpload?.(total ? loaded / total : 0);
    request.upload.onload = () => tell.onUpload?.(1);
    const guarded = (act) => () => {
      try {
        act();
      } catch (problem) {
        reject(problem);
        request.abort();
      }
    };
    request.onprogress = guarded(() => answer.read());
    request.onload = guarded(() => resolve(answer.result()));
    const broken =
      "the connection broke before the answer came; is the server up, and does it take files this large?";
    request.onerror = () => reject(new EmotionError("DISCONNECTED", broken));
    request.onloadend = () => signal?.removeEventListener("abort", abort);
    signal?.addEventListener("abort", abort);
    request.open("POST", new URL("api/v1/emotion/recognize", rootOf(url)));
    request.setRequestHeader("Accept", "application/x-ndjson");
    if (token) request.setRequestHeader("Authorization", `Bearer ${token}`);
    const form = new FormData();
    form.append("granularity", granularity); // before the file: the server can read it while the file arrives
    form.append("extract_embedding", String(embedding));
    form.append("audio_file", file, file.name || "recording");
    request.send(form);
  });
}

/** The lines of an answer, read as they come; the last one is the result, or the reason why there is none. */
class Answer {
  constructor(request, tell) {
    Object.assign(this, { request, tell, at: 0, last: undefined });
  }

  get isLines() {
    return this.request.getResponseHeader("Content-Type")?.startsWith("application/x-ndjson");
  }

  read(whole = false) {
    if (!this.isLines) return;
    const text = this.request.responseText;
    const end = whole ? text.length : text.lastIndexOf("\n") + 1;
    if (end <= this.at) return;
    for (const line of text.slice(this.at, end).split("\n")) if (line.trim()) this.take(parse(line));
    this.at = end;
  }

  take(line) {
    if (line.step) this.tell.onStep?.(line.step);
    else if (line.progress) this.tell.onProgress?.(line.progress);
    else this.last = line;
  }

  result() {
    const { request } = this;
    this.read(true);
    const said = this.isLines ? this.last : parse(request.responseText, request.status);
    if (said?.error) {
      const { code, message, status = request.status, retry_after: told } = said.error;
      const retryAfter = Number(told ?? request.getResponseHeader("Retry-After")) || undefined;
      throw new EmotionError(code, message, { status, retryAfter });
    }
    const result = this.isLines ? said?.result : said;
    if (result && request.status === 200) return result;
    throw new EmotionError("PROTOCOL", "the answer ended without a result", { status: request.status });
  }
}

function parse(text, status) {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const said = `not an answer of an emotion-stream server: ${text.slice(0, 80)}`;
    throw new EmotionError("PROTOCOL", said, { status, cause });
  }
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(done, ms);
    function done() {
      signal?.removeEventListener("abort", abort);
      resolve();
    }
    function abort() {
      clearTimeout(timer);
      reject(signal.reason);
    }
    signal?.addEventListener("abort", abort, { once: true });
  });
}
