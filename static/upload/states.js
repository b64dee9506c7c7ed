/* The state of an item in words: [key, values] for `say`. */

import { clockOf } from "../listen/time.js";
import { known, percent, t } from "../shared/text.js";

/** @import { Values } from "../shared/text.js" */
/** @import { Failure, Shown } from "./queue.js" */

/** @param {Shown} item @returns {[key: string, values?: Values]} */
export function stateText(item) {
  const { state, upload, doneS, totalS, until, error } = item;
  if (state === "uploading") return ["is.uploading", { part: percent(upload) }];
  if (state === "working" && totalS) return ["is.scoring", { done: clockOf(doneS), total: clockOf(totalS) }];
  if (state === "held") return ["is.held", { s: Math.max(1, Math.ceil(((until ?? 0) - Date.now()) / 1000)) }];
  if (error) return ["{error}", { error: () => t(errorKey(error), { ...error }) }];
  if (state === "done" && !item.file) return ["is.kept", { at: () => scoredAt(item) }];
  return [`is.${state}`];
}

/** The key of an error's text; with ".do" what to do about it.
 *  @param {Failure} error */
export function errorKey({ code }) {
  return known(`error.${code}`) ? `error.${code}` : "error.other";
}

/** When, by the reader's clock.
 *  @param {Shown} item */
function scoredAt({ result }) {
  return new Date(result?.timestamp_utc ?? "").toLocaleString(document.documentElement.lang);
}
