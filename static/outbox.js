/* Audio that the server has not yet acknowledged, in order, bounded. It is what lets a session go on after
   the connection breaks: what was sent and not acknowledged is sent again under the same `seq`.
   When it is full, new audio is refused, not old audio dropped: the numbering then has no holes. */

export class Outbox {
  constructor(limitMs) {
    this.limitMs = limitMs;
    this.entries = new Map(); // seq → {seq, chunk, ms, sent}; a Map keeps the order of insertion
    this.ms = 0; // of audio waiting in here
    this.nextSeq = 0;
  }

  /** Keep `chunk`; false when there is no room. */
  push(chunk, ms) {
    if (this.ms + ms > this.limitMs) return false;
    const seq = this.nextSeq++;
    this.entries.set(seq, { seq, chunk, ms, sent: false });
    this.ms += ms;
    return true;
  }

  /** The next chunk to send, or undefined. */
  next() {
    for (const entry of this.entries.values()) if (!entry.sent) return entry;
    return undefined;
  }

  get inFlight() {
    let count = 0;
    for (const entry of this.entries.values()) if (entry.sent) count++;
    return count;
  }

  /** The server has `seq`, or will never want it. */
  settle(seq) {
    const entry = this.entries.get(seq);
    if (!entry) return;
    this.entries.delete(seq);
    this.ms -= entry.ms;
  }

  /** Send everything here again, but for what the server has already (below `nextSeq`). */
  rewind(nextSeq = 0) {
    for (const entry of [...this.entries.values()]) {
      if (entry.seq < nextSeq) this.settle(entry.seq);
      else entry.sent = false;
    }
  }

  /** Start counting from 0: what waits here becomes the beginning of another session. */
  renumber() {
    const kept = [...this.entries.values()].map((entry, seq) => ({ ...entry, seq, sent: false }));
    this.entries = new Map(kept.map((entry) => [entry.seq, entry]));
    this.nextSeq = kept.length;
  }

  clear() {
    this.entries.clear();
    this.ms = 0;
    this.nextSeq = 0;
  }
}
