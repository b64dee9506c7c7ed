/* Critical alerts by sound and by a notification of the desktop: both off until somebody chooses them here. */

import { messageOf, t } from "../shared/text.js";
import { title } from "./cards.js";

const KEY = "emotion-stream.desk.notify";
const QUIET_MS = 3_000; // between two sounds

export class Notifier {
  /** `onDenied()`: the browser does not allow notifications. `sound`, `desktop`: the two checkboxes. */
  constructor({ sound, desktop, onDenied }) {
    this.boxes = { sound, desktop };
    this.onDenied = onDenied;
    const kept = read();
    sound.checked = Boolean(kept.sound);
    desktop.checked = Boolean(kept.desktop) && globalThis.Notification?.permission === "granted";
    sound.onchange = () => this.chosen(sound.checked && (() => this.ring()));
    desktop.onchange = () => this.chosen(desktop.checked && (() => this.permit()));
  }

  async chosen(first) {
    if (first) await first();
    try {
      localStorage.setItem(
        KEY,
        JSON.stringify({ sound: this.boxes.sound.checked, desktop: this.boxes.desktop.checked }),
      );
    } catch {
      // A browser that keeps nothing still alerts; it only forgets.
    }
  }

  async permit() {
    if ((await globalThis.Notification?.requestPermission()) === "granted") return;
    this.boxes.desktop.checked = false;
    this.onDenied();
  }

  alert(session) {
    if (this.boxes.sound.checked) this.ring();
    if (!this.boxes.desktop.checked) return;
    const { session_id: id, alerts } = session;
    const shown = new Notification(`${t("level.critical")}: ${title(session)}`, {
      body: t("alert.message", messageOf(alerts.last)),
      tag: id,
    });
    shown.onclick = () => {
      focus();
      location.hash = `#session/${encodeURIComponent(id)}`;
      shown.close();
    };
  }

  /** Two short falling tones. */
  ring() {
    const now = performance.now();
    if (now - (this.rungAt ?? -QUIET_MS) < QUIET_MS) return;
    this.rungAt = now;
    this.audio ??= new AudioContext();
    this.audio.resume();
    [880, 660].forEach((pitch, i) => {
      const at = this.audio.currentTime + 0.18 * i;
      const tone = this.audio.createOscillator();
      const loudness = this.audio.createGain();
      tone.frequency.value = pitch;
      loudness.gain.setValueAtTime(0.12, at);
      loudness.gain.exponentialRampToValueAtTime(0.001, at + 0.3);
      tone.connect(loudness).connect(this.audio.destination);
      tone.start(at);
      tone.stop(at + 0.3);
    });
  }
}

function read() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
}
