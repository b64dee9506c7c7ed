/* Brings what the server keeps to the reader's disk, named after the recording. The page fetches it, because a
   link can carry neither a token nor a name that the server's own would not override; only sound, which may be
   large, is left to the browser where no token is needed. */

import { EmotionError } from "../../client/emotion-stream.js";
import { save } from "../shared/saving.js";
import { currentLanguage } from "../shared/text.js";

/** @typedef {ReturnType<typeof makeSaver>} Saver */

/** `token()`: the access token, if any.
 *  @param {() => string | undefined} token @param {(problem: unknown) => void} onProblem */
export function makeSaver(token, onProblem) {
  /** @returns {Record<string, string>} */
  const headers = () => ({
    "Accept-Language": currentLanguage(),
    ...(token() ? { Authorization: `Bearer ${token()}` } : {}),
  });

  /** The answer to a request for a file of a result; throws EmotionError.
   *  @param {string} path @param {RequestInit} [options] */
  async function get(path, options = {}) {
    let answer;
    try {
      answer = await fetch(new URL(path, document.baseURI), { ...options, headers: headers() });
    } catch (problem) {
      if (problem instanceof DOMException && problem.name === "AbortError") throw problem;
      throw new EmotionError("AWAY", "");
    }
    if (answer.ok) return answer;
    const { error } = await answer.json().catch(() => ({}));
    const { status } = answer;
    throw new EmotionError(error?.code ?? "other", error?.message ?? `HTTP ${status}`, { status });
  }

  /** Have the server remove what is at `path`, if it still has it.
   *  @param {string} path */
  async function remove(path) {
    try {
      await get(path, { method: "DELETE" });
    } catch (problem) {
      if (!(problem instanceof EmotionError && problem.code === "NOT_FOUND")) throw problem;
    }
  }

  /** A link that saves `path` as `name`; `large`: better not through memory.
   *  @param {HTMLAnchorElement} element @param {string} path @param {string} name @param {boolean} large */
  function link(element, path, name, large) {
    element.href = new URL(path, document.baseURI).href;
    element.download = name;
    element.onclick = async (event) => {
      if (large && !token()) return;
      event.preventDefault();
      try {
        save(await (await get(path)).blob(), name);
      } catch (problem) {
        onProblem(problem);
      }
    };
  }

  return { get, remove, link };
}
