/* An opened session, from its first second to now, as the server keeps it: for each channel nine shares per bin of
   time (longer bins as the session grows), utterances, alerts, lost stretches. No drawing, no page in here. */

import { LABELS } from "../shared/emotions.js";

/** @import * as client from "../../client/emotion-stream.js" */
/** @import { Known } from "./store.js" */
/** @typedef {{n: number}} Numbered what comes twice has the same number */
/** @typedef {client.Utterance & Numbered} Utterance */
/** @typedef {client.Alert & Numbered} Alert */
/** @typedef {client.Lost & Numbered} Lost */
/** A `session` message: whole, or the part that is new.
 *  @typedef {{session_id: string, whole: boolean, summary?: Partial<Known>, utterances: Utterance[],
 *             alerts: Alert[], lost: Lost[], timelines: Record<string, {bin_ms: number, from: number,
 *             rows: (number[] | null)[], scores: number[]}>}} SessionMessage */
/** @typedef {{binMs: number, rows: (number[] | null)[], scores: number[]}} Channel */

export class History {
  /** @type {Record<string, Channel>} by name */
  channels = {};
  /** @type {Utterance[]} */
  utterances = [];
  /** @type {Alert[]} */
  alerts = [];
  /** @type {Lost[]} */
  lost = [];
  /** @type {Partial<Known> | null} */
  summary = null;

  /** Gives whether it has begun anew.
   *  @param {SessionMessage} message */
  update({ whole, summary, timelines, utterances, alerts, lost }) {
    const other = summary?.started_utc && summary.started_utc !== this.summary?.started_utc;
    const anew = whole || Boolean(other);
    if (anew) Object.assign(this, new History());
    this.summary = { ...this.summary, ...summary };
    for (const [name, { bin_ms: binMs, from, rows, scores }] of Object.entries(timelines)) {
      const kept = this.channels[name]?.binMs === binMs ? this.channels[name].rows.slice(0, from) : [];
      this.channels[name] = { binMs, rows: [...kept, ...rows], scores };
    }
    append(this.utterances, utterances);
    append(this.alerts, alerts);
    append(this.lost, lost);
    return anew;
  }

  /** Where the timeline ends, in ms. */
  get end() {
    const bins = Object.values(this.channels).map(({ binMs, rows }) => binMs * rows.length);
    return Math.max(0, ...bins, this.utterances.at(-1)?.end_ms ?? 0);
  }

  /** [times in s, then for each label the share of itself and of those after it]: a stack with the first label on
   *  top, as uPlot draws it. A bin reaches from its start to its end, however short it stands between silences.
   *  @param {string} name
   *  @returns {[number[], ...(number | null)[][]]} */
  stacked(name) {
    const { binMs, rows } = this.channels[name] ?? { binMs: 500, rows: [] };
    /** @type {number[]} */
    const times = [];
    /** @type {(number | null)[][]} */
    const columns = LABELS.map(() => []);
    /** @param {number} ms @param {number[] | null} row */
    const point = (ms, row) => {
      times.push(ms / 1000);
      let total = 0;
      const all = row ? sumOf(row) : 0;
      for (let label = LABELS.length - 1; label >= 0; label--) {
        if (row) total += row[label] / all;
        columns[label].push(row ? total : null);
      }
    };
    rows.forEach((row, k) => {
      if (!row) return point((k + 0.5) * binMs, null);
      if (!rows[k - 1]) point(k * binMs, row);
      point((k + 0.5) * binMs, row);
      if (!rows[k + 1]) point((k + 1) * binMs, row);
    });
    return [times, ...columns];
  }

  /** The nine shares at `ms`, of 1; undefined in a gap.
   *  @param {string} name @param {number} ms */
  sharesAt(name, ms) {
    const { binMs, rows } = this.channels[name] ?? { binMs: 1, rows: [] };
    const row = rows[Math.floor(ms / binMs)];
    const all = row ? sumOf(row) : 0;
    return row?.map((share) => share / all);
  }
}

/** @param {number[]} row */
function sumOf(row) {
  return row.reduce((sum, share) => sum + share, 0);
}

/** Each comes once: by its number.
 *  @template {Numbered} Item
 *  @param {Item[]} list @param {Item[]} more */
function append(list, more) {
  const last = list.at(-1)?.n ?? 0;
  list.push(...more.filter(({ n }) => n > last));
}
