/* The table of files as CSV. No page. */

import { csvOf } from "../shared/csv.js";
import { LABELS } from "../shared/emotions.js";

/** @import { Item } from "./queue.js" */

const HEAD = [
  "file",
  "state",
  "emotion",
  "confidence",
  "duration_s",
  "utterances",
  "granularity",
  "model",
  "timestamp_utc",
  "result",
];

/** @param {Item[]} items */
export function tableCsv(items) {
  const rows = items.map(({ name, state, settings, result, error }) => [
    name,
    state,
    result?.emotion,
    result?.confidence,
    result?.duration_s,
    result?.utterances?.length,
    settings.granularity,
    result?.model,
    result?.timestamp_utc,
    result?.id,
    ...LABELS.map((label) => /** @type {Record<string, number> | undefined} */ (result?.scores)?.[label]),
    error ? `${error.code}: ${error.message}` : undefined,
  ]);
  return csvOf([[...HEAD, ...LABELS, "error"], ...rows]);
}
