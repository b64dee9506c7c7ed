/* Asks the server now and then how it is: which model, on what, ready or not. */

import { currentLanguage, takeNames } from "./text.js";

/** @typedef {{ready: boolean, model: string, device: string | null, supported_labels: string[] | null,
 *             labels_zh: string[],
 *             keeps: "nothing" | "scores" | "audio", limits: {upload_bytes: number, upload_s: number}}} Status */

const WHEN_READY_MS = 15_000;
const WHEN_NOT_MS = 2_000;

/** `onAnswer` gets each answer of GET api/v1/status, `onNone` the HTTP status of a refusal, or 0 where nobody
 *  answers; `.now()` asks at once. `token()`: the access token, if any.
 *  @param {() => string | undefined} token
 *  @param {(status: Status) => void} onAnswer
 *  @param {(httpStatus: number) => void} [onNone] */
export function watchStatus(token, onAnswer, onNone = () => {}) {
  /** @type {number | undefined} */
  let timer;
  async function now() {
    clearTimeout(timer);
    let wait = WHEN_READY_MS;
    try {
      const kept = token();
      const response = await fetch("api/v1/status", {
        headers: {
          "Accept-Language": currentLanguage(),
          ...(kept ? { Authorization: `Bearer ${kept}` } : {}),
        },
      });
      const answer = await response.json();
      if (typeof answer.ready === "boolean") {
        takeNames(answer.labels_zh);
        onAnswer(answer);
        if (!answer.ready) wait = WHEN_NOT_MS;
      } else {
        onNone(response.status);
      }
    } catch {
      wait = WHEN_NOT_MS;
      onNone(0);
    }
    clearTimeout(timer); // two may have been under way
    timer = setTimeout(now, wait);
  }
  return { now };
}
