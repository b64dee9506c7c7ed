/* All sessions as the server tells of them, which of them are to be shown, and in what order. No page in here. */

import { LABELS } from "../shared/emotions.js";

/** @import { Alert } from "../../client/emotion-stream.js" */
/** @import { SummariesMessage } from "./feed.js" */
/** @typedef {"info" | "warning" | "critical"} Level */
/** @typedef {{from: number, points: (number | null)[]}} Spark the last five minutes, in points of 5 s */
/** @typedef {{emotion: string | null, confidence: number, second: string | null, second_confidence: number,
 *             arousal: number, valence: number, speaking: boolean, speech_share: number,
 *             negative: number, watched: boolean, spark: Spark}} Channel */
/** @typedef {Record<Level, number> & {open: Level | null, worst: Alert | null,
 *             last: Alert | null}} Alerts how many so far, the worst that is open, and the latest */
/** @typedef {{by_channel: Record<string, {share: number, interruptions: number, reaction_ms: number | null}>,
 *             overlap_ms: number, longest_silence_ms: number}} Dynamics of a call of two */
/** What the server says of a session; all of it at first, then what has changed.
 *  @typedef {{session_id: string, name: string, tags: Record<string, string>, started_utc: string,
 *             state: "live" | "ended", timelines: Record<string, Channel>, utterances: number, lost_ms: number,
 *             dynamics: Dynamics | null, alerts: Alerts, trouble: number}} Known
 *  @typedef {Partial<Known> & {session_id: string, age_ms?: number}} Summary
 *  @typedef {Known & {startedAt: number, endedAt?: number, rank?: number}} Session times of this page */
/** @typedef {{live: number, speaking: number, open: Record<Level, number>, emotions: number[]}} Totals
 *           of live sessions; `emotions` in label order */
/** @typedef {{text: string, level: string, queue: string, language: string, emotion: string}} Filter */
/** @typedef {keyof typeof ORDERS} Order */

export const SPARK_POINTS = 60;
export const POINT_MS = 5_000;
export const TAGS_TO_FILTER = /** @type {const} */ (["queue", "language"]);
/** @type {Level[]} */
const LEVELS = ["info", "warning", "critical"];
const CLOSE = 0.15; // a trouble that moves by less moves no card: what swaps places all the time cannot be read

export class Store {
  /** @type {Map<string, Session>} by id */
  sessions = new Map();
  /** @type {Set<string>} ids since the last look */
  #changed = new Set();
  #onCritical;

  /** `onCritical(session)`: a critical alert has come.
   *  @param {(session: Session) => void} onCritical */
  constructor(onCritical) {
    this.#onCritical = onCritical;
  }

  /** The ids of sessions that are new, changed or gone since the last call. */
  changes() {
    const ids = [...this.#changed];
    this.#changed.clear();
    return ids;
  }

  /** @param {SummariesMessage} message @param {number} now */
  update({ whole, sessions, gone }, now) {
    if (whole) {
      const still = new Set(sessions.map((summary) => summary.session_id));
      for (const id of this.sessions.keys()) if (!still.has(id)) this.#drop(id);
    }
    for (const summary of sessions) this.#merge(summary, now);
    for (const id of gone) this.#drop(id);
  }

  /** @param {Summary} summary @param {number} now */
  #merge(summary, now) {
    const id = summary.session_id;
    this.#changed.add(id);
    const old = this.sessions.get(id);
    const same = old && (!summary.started_utc || old.started_utc === summary.started_utc);
    if (!same && !summary.started_utc) return; // the rest of something that was never begun
    const session = same ? old : /** @type {Session} */ ({ timelines: {} });
    const critical = session.alerts?.critical;
    const { timelines = {}, age_ms: age, ...fields } = summary;
    Object.assign(session, fields);
    if (age !== undefined) session.startedAt = now - age;
    for (const [name, channel] of Object.entries(timelines)) {
      const spark = grown(session.timelines[name]?.spark, channel.spark);
      session.timelines[name] = { ...channel, spark };
    }
    if (session.state === "ended") session.endedAt ??= age === undefined ? now : session.startedAt + age;
    this.sessions.set(id, session);
    if (critical !== undefined && session.alerts.critical > critical) this.#onCritical(session);
  }

  /** @param {string} id */
  #drop(id) {
    this.#changed.add(id);
    this.sessions.delete(id);
  }

  /** @returns {Totals} */
  get totals() {
    const totals = {
      live: 0,
      speaking: 0,
      open: { critical: 0, warning: 0, info: 0 },
      emotions: LABELS.map(() => 0),
    };
    for (const { state, timelines, alerts } of this.sessions.values()) {
      if (state !== "live") continue;
      const channels = Object.values(timelines);
      totals.live++;
      if (channels.some(({ speaking }) => speaking)) totals.speaking++;
      if (alerts.open) totals.open[alerts.open]++;
      for (const { emotion } of channels) if (emotion) totals.emotions[LABELS.indexOf(emotion)]++;
    }
    return totals;
  }

  /** The values that sessions have for a tag, in order.
   *  @param {string} tag */
  values(tag) {
    const values = new Set([...this.sessions.values()].map(({ tags }) => tags[tag]).filter(Boolean));
    return [...values].sort((a, b) => a.localeCompare(b));
  }
}

/** @param {Spark | undefined} known @param {Spark} more @returns {Spark} */
function grown(known = { from: 0, points: [] }, more) {
  const points = known.points.slice(0, Math.max(0, more.from - known.from));
  while (known.from + points.length < more.from) points.push(null);
  points.push(...more.points);
  const from = known.from + Math.max(0, points.length - SPARK_POINTS);
  return { from, points: points.slice(-SPARK_POINTS) };
}

/** How long a session has lasted, in ms.
 *  @param {Session} session @param {number} now */
export function duration(session, now) {
  return Math.max(0, (session.endedAt ?? now) - session.startedAt);
}

// -- which, and in what order ----------------------------------------------------------------------

/** @type {Filter} */
export const EVERYTHING = { text: "", level: "all", queue: "", language: "", emotion: "" };

/** Whether a session is among those asked for.
 *  @param {Session} session @param {Filter} filter */
export function matches(session, { text, level, queue, language, emotion }) {
  const { tags, alerts, timelines } = session;
  if (queue && tags.queue !== queue) return false;
  if (language && tags.language !== language) return false;
  if (emotion && !Object.values(timelines).some((channel) => channel.emotion === emotion)) return false;
  if (level === "any" && !alerts.open) return false;
  if (level === "had" && !LEVELS.some((one) => alerts[one])) return false;
  if (LEVELS.some((one) => one === level) && alerts.open !== level) return false;
  if (!text) return true;
  const all = [session.name, ...Object.values(tags)].join("\n").toLowerCase();
  const id = session.session_id.toLowerCase(); // by its beginning: a short word is somewhere in every third one
  return text
    .toLowerCase()
    .split(/\s+/)
    .every((word) => all.includes(word) || id.startsWith(word));
}

const ORDERS = {
  trouble: (/** @type {Session} */ a, /** @type {Session} */ b) =>
    (b.rank ?? 0) - (a.rank ?? 0) || a.startedAt - b.startedAt,
  longest: (/** @type {Session} */ a, /** @type {Session} */ b) => a.startedAt - b.startedAt,
  newest: (/** @type {Session} */ a, /** @type {Session} */ b) => b.startedAt - a.startedAt,
  name: (/** @type {Session} */ a, /** @type {Session} */ b) =>
    (a.name || a.session_id).localeCompare(b.name || b.session_id),
};

/** `sessions` in the order of `by`, ended ones last.
 *  @param {Session[]} sessions @param {Order} by */
export function sorted(sessions, by) {
  for (const session of sessions) session.rank = rankOf(session);
  const ended = (/** @type {Session} */ session) => (session.state === "ended" ? 1 : 0);
  return [...sessions].sort((a, b) => ended(a) - ended(b) || ORDERS[by](a, b));
}

/** A session's trouble, that moves only when it has moved enough; at once when an alert opens or ends.
 *  @param {Session} session */
function rankOf({ rank: old, trouble }) {
  const same =
    old !== undefined && Math.floor(old) === Math.floor(trouble) && Math.abs(old - trouble) < CLOSE;
  return same ? old : trouble;
}
