/* The table as a CSV file that any spreadsheet opens: quoted as RFC 4180 says, with a mark that makes Excel read
   UTF-8, and with no text that a spreadsheet would run as a formula: file names come from anywhere. No page. */

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
  return `\uFEFF${[[...HEAD, ...LABELS, "error"], ...rows].map((row) => `${row.map(cell).join(",")}\r\n`).join("")}`;
}

/** @param {string | number | null | undefined} value */
export function cell(value) {
  if (value === undefined || value === null) return "";
  if (typeof value === "number") return String(value);
  const text = /^\s*[=+\-@＝＋－＠\t\r\n]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) || text !== text.trim() ? `"${text.replaceAll('"', '""')}"` : text;
}
