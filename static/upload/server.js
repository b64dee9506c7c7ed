/* How the server is, what it has refused, and where it keeps results. */

import { EmotionError } from "../../client/emotion-stream.js";
import { showConnection } from "../shared/header.js";
import { notifyError } from "../shared/parts.js";

/** Where a result is.
 *  @param {string} id */
export function pathOf(id) {
  return `api/v1/results/${encodeURIComponent(id)}`;
}

/** @param {string} state of the connection: here it is a server that is asked now and then */
export function showServer(state) {
  showConnection(state, state === "online" ? { key: "state.ready" } : {});
}

/** @param {unknown} problem */
export function showProblem(problem) {
  if (problem instanceof DOMException && problem.name === "AbortError") return;
  notifyError(problem instanceof EmotionError ? problem : { code: "INTERNAL", message: String(problem) });
}
