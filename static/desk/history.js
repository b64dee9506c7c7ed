/* An opened session, from its first second to now, as the server keeps it: for each voice nine shares per bin of
   time (longer bins as the session grows), utterances, alerts, lost stretches. No drawing, no page in here. */

import { LABELS } from "../shared/emotions.js";

export class History {
  constructor() {
    this.voices = {}; // name → {binMs, rows, scores}
    this.utterances = [];
    this.alerts = [];
    this.lost = [];
    this.summary = null;
  }

  /** A `session` message, whole or the part that is new. */
  take({ whole, summary, timelines, utterances, alerts, lost }) {
    if (whole || (summary?.started_utc && summary.started_utc !== this.summary?.started_utc)) {
      Object.assign(this, new History());
    }
    this.summary = { ...this.summary, ...summary };
    for (const [name, { bin_ms: binMs, from, rows, scores }] of Object.entries(timelines)) {
      const kept = this.voices[name]?.binMs === binMs ? this.voices[name].rows.slice(0, from) : [];
      this.voices[name] = { binMs, rows: [...kept, ...rows], scores };
    }
    append(this.utterances, utterances);
    append(this.alerts, alerts);
    append(this.lost, lost);
  }

  /** Where the timeline ends, in ms. */
  get end() {
    const bins = Object.values(this.voices).map(({ binMs, rows }) => binMs * rows.length);
    return Math.max(0, ...bins, ...this.utterances.slice(-1).map((utterance) => utterance.end_ms));
  }

  /** [times in s, then for each label the share of itself and of those after it]: a stack with the first label on
      top, as uPlot draws it. A bin reaches from its start to its end, however short it stands between silences. */
  stacked(name) {
    const { binMs, rows } = this.voices[name] ?? { binMs: 500, rows: [] };
    const times = [];
    const columns = LABELS.map(() => []);
    const point = (ms, row) => {
      times.push(ms / 1000);
      let total = 0;
      const all = row ? row.reduce((sum, share) => sum + share, 0) : 0;
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

  /** The nine shares at `ms`, of 1; undefined in a gap. */
  sharesAt(name, ms) {
    const { binMs, rows } = this.voices[name] ?? {};
    const row = rows?.[Math.floor(ms / binMs)];
    const all = row?.reduce((sum, share) => sum + share, 0);
    return row?.map((share) => share / all);
  }
}

/** Each comes once: by its number. */
function append(list, more) {
  const last = list.at(-1)?.n ?? 0;
  list.push(...more.filter(({ n }) => n > last));
}
