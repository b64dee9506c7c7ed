/* All sessions as the server tells of them, which of them are to be shown, and in what order. No page in here. */

import { LABELS } from "../shared/emotions.js";

export const SPARK_POINTS = 60;
export const POINT_MS = 5_000;
const LEVELS = ["info", "warning", "critical"];
const CLOSE = 0.15; // a trouble that moves by less moves no card: what swaps places all the time cannot be read

export class Store {
  /** `onCritical(session)`: a critical alert has come. */
  constructor(onCritical) {
    this.onCritical = onCritical;
    this.sessions = new Map(); // id → session
    this.changed = new Set(); // ids since the last look
  }

  /** A `summaries` message. */
  take({ whole, sessions, gone }, now) {
    if (whole) {
      const still = new Set(sessions.map((news) => news.session_id));
      for (const id of this.sessions.keys()) if (!still.has(id)) this.drop(id);
    }
    for (const news of sessions) this.merge(news, now);
    for (const id of gone) this.drop(id);
  }

  merge(news, now) {
    const id = news.session_id;
    this.changed.add(id);
    const old = this.sessions.get(id);
    const same = old && (!news.started_utc || old.started_utc === news.started_utc);
    if (!same && !news.started_utc) return; // the rest of something that was never begun
    const session = same ? old : { timelines: {} };
    const critical = session.alerts?.critical;
    const { timelines = {}, age_ms: age, ...fields } = news;
    Object.assign(session, fields);
    if (age !== undefined) session.startedAt = now - age;
    for (const [name, voice] of Object.entries(timelines)) {
      session.timelines[name] = { ...voice, spark: grown(session.timelines[name]?.spark, voice.spark) };
    }
    if (session.state === "ended") session.endedAt ??= age === undefined ? now : session.startedAt + age;
    this.sessions.set(id, session);
    if (critical !== undefined && session.alerts.critical > critical) this.onCritical(session);
  }

  drop(id) {
    this.changed.add(id);
    this.sessions.delete(id);
  }

  /** {live, speaking, open: {critical, warning, info}, emotions: counts in label order} */
  get totals() {
    const totals = {
      live: 0,
      speaking: 0,
      open: { critical: 0, warning: 0, info: 0 },
      emotions: LABELS.map(() => 0),
    };
    for (const { state, timelines, alerts } of this.sessions.values()) {
      if (state !== "live") continue;
      const voices = Object.values(timelines);
      totals.live++;
      if (voices.some(({ speaking }) => speaking)) totals.speaking++;
      if (alerts.open) totals.open[alerts.open]++;
      for (const { emotion } of voices) if (emotion) totals.emotions[LABELS.indexOf(emotion)]++;
    }
    return totals;
  }

  /** The values that sessions have for a tag, in order. */
  values(tag) {
    const values = new Set([...this.sessions.values()].map(({ tags }) => tags[tag]).filter(Boolean));
    return [...values].sort((a, b) => a.localeCompare(b));
  }
}

function grown(spark = { from: 0, points: [] }, news) {
  const points = spark.points.slice(0, Math.max(0, news.from - spark.from));
  while (spark.from + points.length < news.from) points.push(null);
  points.push(...news.points);
  const from = spark.from + Math.max(0, points.length - SPARK_POINTS);
  return { from, points: points.slice(-SPARK_POINTS) };
}

export function duration(session, now) {
  return Math.max(0, (session.endedAt ?? now) - session.startedAt);
}

// -- which, and in what order ----------------------------------------------------------------------

export const EVERYTHING = { text: "", level: "all", queue: "", language: "", emotion: "" };

/** Whether a session is among those asked for. */
export function matches(session, { text, level, queue, language, emotion }) {
  const { tags, alerts, timelines } = session;
  if (queue && tags.queue !== queue) return false;
  if (language && tags.language !== language) return false;
  if (emotion && !Object.values(timelines).some((voice) => voice.emotion === emotion)) return false;
  if (level === "any" && !alerts.open) return false;
  if (level === "had" && !LEVELS.some((one) => alerts[one])) return false;
  if (LEVELS.includes(level) && alerts.open !== level) return false;
  if (!text) return true;
  const all = [session.name, ...Object.values(tags)].join("\n").toLowerCase();
  const id = session.session_id.toLowerCase(); // by its beginning: a short word is somewhere in every third one
  return text
    .toLowerCase()
    .split(/\s+/)
    .every((word) => all.includes(word) || id.startsWith(word));
}

const ORDERS = {
  trouble: (a, b) => b.rank - a.rank || a.startedAt - b.startedAt,
  longest: (a, b) => a.startedAt - b.startedAt,
  newest: (a, b) => b.startedAt - a.startedAt,
  name: (a, b) => (a.name || a.session_id).localeCompare(b.name || b.session_id),
};

/** `sessions` in the order of `by`, ended ones last. */
export function sorted(sessions, by) {
  for (const session of sessions) session.rank = rank(session);
  const ended = (session) => (session.state === "ended" ? 1 : 0);
  return [...sessions].sort((a, b) => ended(a) - ended(b) || ORDERS[by](a, b));
}

/** A session's trouble, that moves only when it has moved enough; at once when an alert opens or ends. */
function rank({ rank: old, trouble }) {
  const same =
    old !== undefined && Math.floor(old) === Math.floor(trouble) && Math.abs(old - trouble) < CLOSE;
  return same ? old : trouble;
}
