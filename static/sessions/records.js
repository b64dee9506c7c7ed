/* Recorded sessions as the server lists them, and which of them are wanted. No page in here. */

import { LABELS, asRow } from "../shared/emotions.js";

/** What `GET /api/v1/sessions` says of one; of one that was cut off, what is known.
 *  @typedef {{id: string, session_id: string, name?: string, tags?: Record<string, string>, started_utc: string,
 *             complete: boolean, audio_ms?: number, speech_ms?: number, share?: Record<string, number>,
 *             by_channel?: Record<string, unknown>, files: Record<string, string>}} Head */
/** @typedef {{text: string, emotion: string}} Wanted */

/** @param {Head} head */
export function nameOf(head) {
  return head.name || head.session_id;
}

/** @param {Head} head @returns {string | undefined} none where nobody spoke */
export function likeliestOf({ share = {} }) {
  const row = asRow(share);
  const most = Math.max(...row);
  return most > 0 ? LABELS[row.indexOf(most)] : undefined;
}

/** Those that have all words of the text in their name, their tags or their id.
 *  @param {Head[]} all @param {Wanted} wanted */
export function wantedOf(all, { text, emotion }) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return all.filter((head) => {
    const hay = [nameOf(head), head.session_id, ...Object.values(head.tags ?? {})].join("\n").toLowerCase();
    return words.every((word) => hay.includes(word)) && (!emotion || likeliestOf(head) === emotion);
  });
}
