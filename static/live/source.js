/* Where the sound of a run comes from: a microphone (which one is remembered), the sound of a tab, or a recording
   that is played as if it were live. A run that pauses opens it again, and a recording goes on. */

import { EmotionError } from "../../client/emotion-stream.js";
import { $, make } from "../shared/parts.js";

/** @import { MicrophoneOptions } from "../../client/emotion-stream.js" */
/** @typedef {"microphone" | "tab" | "file"} Kind */
/** @typedef {{audio: HTMLAudioElement, context: AudioContext, from: MediaElementAudioSourceNode}} Playing */

const KEY = "emotion-stream.microphone";

export class Source {
  #select = $("source", HTMLSelectElement);
  #onEnded;
  /** @type {HTMLElement[]} */
  #listed = []; // the microphones
  /** @type {Playing | null} */
  #playing = null;
  #turn = 0; // counts what was ended: what is allowed or chosen after that is too late

  /** `onEnded()`: the recording is over.
   *  @param {() => void} onEnded */
  constructor(onEnded) {
    this.#onEnded = onEnded;
    $("source-tab").hidden = !navigator.mediaDevices?.getDisplayMedia;
    navigator.mediaDevices?.addEventListener("devicechange", () => this.list());
    this.#select.onchange = () => {
      if (this.kind !== "microphone") return;
      const { value, text } = this.#select.selectedOptions[0];
      localStorage.setItem(KEY, JSON.stringify({ deviceId: value, label: text }));
    };
    this.list();
  }

  /** @returns {Kind} */
  get kind() {
    const { value } = this.#select;
    return value === "tab" || value === "file" ? value : "microphone";
  }

  /** @param {boolean} free whether another may be chosen */
  allow(free) {
    this.#select.disabled = !free;
  }

  /** The microphones that there are, by name where the browser tells it: once one was allowed. */
  async list() {
    const all = (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
    const named = all.filter((device) => device.kind === "audioinput" && device.label && device.deviceId);
    /** @type {{deviceId: string, label: string}} */
    const kept = JSON.parse(localStorage.getItem(KEY) ?? '{"deviceId":"","label":""}');
    const chosen = this.kind === "microphone" ? kept.deviceId : this.#select.value;
    const known = named.length || !kept.deviceId ? named : [kept];
    const own = known.filter(({ deviceId }) => deviceId !== "default");
    this.#listed.forEach((option) => option.remove());
    this.#listed = own.map(({ deviceId, label }) => make("option", { value: deviceId }, label));
    $("source-tab").before(...this.#listed);
    this.#select.value = chosen;
    if (this.#select.selectedIndex < 0) this.#select.value = ""; // it is not plugged in now
  }

  /** What the microphone is to be opened with.
   *  @returns {MicrophoneOptions} */
  get options() {
    if (this.kind === "tab") return { source: () => this.#share() };
    if (this.kind === "file") return { source: () => this.#play() };
    return { constraints: this.#select.value ? { deviceId: this.#select.value } : {} };
  }

  async #share() {
    const wanted = { audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } };
    const stream = await navigator.mediaDevices
      .getDisplayMedia({ ...wanted, video: true })
      .catch((problem) => {
        throw problem.name === "NotAllowedError" ? new EmotionError("MIC_CANCELED", "") : problem;
      });
    if (stream.getAudioTracks().length) return stream;
    stream.getTracks().forEach((track) => track.stop());
    throw new EmotionError("TAB_SILENT", "");
  }

  async #play() {
    const turn = this.#turn;
    if (!this.#playing) {
      const file = await chosenFile();
      if (turn !== this.#turn) throw new EmotionError("MIC_CANCELED", "");
      this.#playing = playerOf(file, this.#onEnded);
    }
    const { audio, context, from } = this.#playing;
    const out = context.createMediaStreamDestination();
    from.connect(out);
    await audio.play().catch(() => {
      this.end();
      throw new EmotionError("FILE_UNPLAYABLE", "");
    });
    return out.stream;
  }

  pause() {
    this.#playing?.audio.pause();
  }

  /** The run is over. */
  end() {
    this.#turn++;
    if (!this.#playing) return;
    this.#playing.audio.onended = null;
    this.#playing.audio.pause();
    URL.revokeObjectURL(this.#playing.audio.src);
    this.#playing.context.close();
    this.#playing = null;
  }
}

/** Whoever plays it hears it, too.
 *  @param {File} file @param {() => void} onEnded @returns {Playing} */
function playerOf(file, onEnded) {
  const audio = new Audio(URL.createObjectURL(file));
  const context = new AudioContext();
  const from = context.createMediaElementSource(audio);
  from.connect(context.destination);
  audio.onended = onEnded;
  return { audio, context, from };
}

/** @returns {Promise<File>} */
function chosenFile() {
  const input = $("source-recording", HTMLInputElement);
  input.value = ""; // so that the same one can be chosen again
  return new Promise((done, failed) => {
    input.onchange = () => input.files?.length && done(input.files[0]);
    input.oncancel = () => failed(new EmotionError("MIC_CANCELED", ""));
    input.click();
  });
}
