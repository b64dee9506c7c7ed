/* Critical alerts by sound and by a notification of the desktop: both off until somebody chooses them here. */

import { messageOf, t } from "../shared/text.js";
import { title } from "./cards.js";

/** @import { Session } from "./store.js" */

const KEY = "emotion-stream.desk.notify";
const QUIET_MS = 3_000; // between two sounds

export class Notifier {
  #sound;
  #desktop;
  #onDenied;
  #rungAt = -QUIET_MS;
  /** @type {AudioContext | undefined} */
  #audio;

  /** `onDenied()`: the browser does not allow notifications.
   *  @param {{sound: HTMLInputElement, desktop: HTMLInputElement, onDenied: () => void}} boxes */
  constructor({ sound, desktop, onDenied }) {
    this.#sound = sound;
    this.#desktop = desktop;
    this.#onDenied = onDenied;
    const kept = read();
    sound.checked = Boolean(kept.sound);
    desktop.checked = Boolean(kept.desktop) && globalThis.Notification?.permission === "granted";
    sound.onchange = () => {
      if (sound.checked) this.#ring();
      this.#keep();
    };
    desktop.onchange = async () => {
      if (desktop.checked) await this.#permit();
      this.#keep();
    };
  }

  #keep() {
    const chosen = { sound: this.#sound.checked, desktop: this.#desktop.checked };
    try {
      localStorage.setItem(KEY, JSON.stringify(chosen));
    } catch {
      // A browser that keeps nothing still alerts; it only forgets.
    }
  }

  async #permit() {
    if ((await globalThis.Notification?.requestPermission()) === "granted") return;
    this.#desktop.checked = false;
    this.#onDenied();
  }

  /** @param {Session} session */
  alert(session) {
    if (this.#sound.checked) this.#ring();
    if (!this.#desktop.checked) return;
    const { session_id: id, alerts } = session;
    const body = alerts.worst ? t("alert.message", messageOf(alerts.worst)) : "";
    const shown = new Notification(`${t("level.critical")}: ${title(session)}`, { body, tag: id });
    shown.onclick = () => {
      focus();
      location.hash = `#session/${encodeURIComponent(id)}`;
      shown.close();
    };
  }

  /** Two short falling tones. */
  #ring() {
    const now = performance.now();
    if (now - this.#rungAt < QUIET_MS) return;
    this.#rungAt = now;
    const audio = (this.#audio ??= new AudioContext());
    audio.resume();
    [880, 660].forEach((pitch, i) => {
      const at = audio.currentTime + 0.18 * i;
      const tone = audio.createOscillator();
      const loudness = audio.createGain();
      tone.frequency.value = pitch;
      loudness.gain.setValueAtTime(0.12, at);
      loudness.gain.exponentialRampToValueAtTime(0.001, at + 0.3);
      tone.connect(loudness).connect(audio.destination);
      tone.start(at);
      tone.stop(at + 0.3);
    });
  }
}

/** @returns {{sound?: boolean, desktop?: boolean}} */
function read() {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? "{}") ?? {};
  } catch {
    return {};
  }
}
