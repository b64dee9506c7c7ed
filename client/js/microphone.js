/* The microphone: permission, the audio graph, and 100 ms chunks of 16 kHz PCM16 by callback.
   Every failure is thrown as an EmotionError whose code begins with MIC_. Knows nothing of the server. */

import { EmotionError } from "./errors.js";
import { said } from "./words.js";

/** @import { MicrophoneChunk, MicrophoneOptions } from "./emotion-stream.js" */

export const MICROPHONE_RATE = 16_000;
const FLUSH_MS = 300; // for the last part of a chunk
const START_MS = 8_000; // a browser without a device to play on may never start its audio
const CHUNK_SAMPLES = MICROPHONE_RATE / 10; // 100 ms: small against a model's own hop, 10 messages a second
/** @type {Record<string, string>} */
const CODES = {
  NotAllowedError: "MIC_DENIED",
  SecurityError: "MIC_DENIED",
  NotFoundError: "MIC_MISSING",
  OverconstrainedError: "MIC_MISSING",
  NotReadableError: "MIC_BUSY",
  AbortError: "MIC_BUSY",
};
/** @type {Record<string, string>} */
const WORDS = {
  MIC_INSECURE: "browsers give the microphone only to https pages and to localhost",
  MIC_UNSUPPORTED: "this browser has no AudioWorklet",
  MIC_DENIED: "the microphone was not allowed",
  MIC_MISSING: "no microphone was found",
  MIC_BUSY: "another program holds the microphone",
  MIC_STUCK: "the browser did not start its audio",
  MIC_CANCELED: "the microphone was closed before it was open",
  MIC_FAILED: "the microphone could not be opened",
};
// How loud and how steady a voice is belongs to how it feels: ask for it untouched.
const UNTOUCHED = {
  channelCount: 1,
  echoCancellation: false,
  noiseSuppression: false,
  autoGainControl: false,
};

export class Microphone {
  #onChunk;
  #onGone;
  #source;
  #language;
  /** @type {MediaStream | undefined} */
  #stream;
  /** @type {AudioContext | undefined} */
  #context;
  /** @type {AudioWorkletNode | undefined} */
  #node;
  /** @type {(() => void) | undefined} */
  #flushed;
  /** @type {(() => void) | undefined} while it is being opened */
  #cancel;

  /** `onChunk({pcm, samples, level})` for each chunk (`pcm`: an ArrayBuffer to `send`, `level`: its RMS, 0 … 1);
   *  `onGone()` if the device is pulled out. `constraints`: of getUserMedia, such as {deviceId}.
   *  `source()`: gives what to hear instead of a microphone, such as the sound of a tab.
   *  `language`: "zh" or "en", of what is wrong; default: the browser's.
   *  @param {(chunk: MicrophoneChunk) => void} onChunk @param {MicrophoneOptions} [options] */
  constructor(onChunk, { onGone = () => {}, constraints = {}, source, language } = {}) {
    this.#onChunk = onChunk;
    this.#onGone = onGone;
    this.#language = language;
    const audio = { ...UNTOUCHED, ...constraints };
    this.#source = source ?? (() => navigator.mediaDevices.getUserMedia({ audio }));
  }

  async open() {
    if (!window.isSecureContext || !navigator.mediaDevices) throw this.#failure("MIC_INSECURE");
    if (!window.AudioWorkletNode) throw this.#failure("MIC_UNSUPPORTED");
    let wanted = true;
    /** @type {Promise<never>} */
    const canceled = new Promise((_, reject) => {
      this.#cancel = () => reject(this.#failure("MIC_CANCELED"));
    });
    try {
      const asked = this.#source();
      // Allowed when nobody waits for it any more.
      asked.then(
        (stream) => wanted || release(stream),
        () => {},
      );
      this.#stream = await Promise.race([asked, canceled]);
      await Promise.race([this.#capture(this.#stream), canceled]);
    } catch (problem) {
      wanted = false;
      await this.close();
      if (problem instanceof EmotionError) throw problem;
      const name = problem instanceof Error ? problem.name : "";
      throw this.#failure(CODES[name] ?? "MIC_FAILED", problem);
    } finally {
      this.#cancel = undefined;
    }
  }

  /** @param {MediaStream} stream */
  async #capture(stream) {
    // At the device's own rate: asking for 16 kHz here is refused by some browsers, and filtered by
    // others in ways that differ. The worklet does it in one known way.
    const context = (this.#context = new AudioContext({ latencyHint: "interactive" }));
    await context.audioWorklet.addModule(new URL("./worklet.js", import.meta.url));
    /** @type {Promise<never>} */
    const stuck = new Promise((_, reject) => {
      setTimeout(() => reject(this.#failure("MIC_STUCK")), START_MS);
    });
    await Promise.race([context.resume(), stuck]);
    if (this.#context !== context) return; // closed meanwhile
    const node = (this.#node = new AudioWorkletNode(context, "capture", {
      channelCount: 1,
      channelCountMode: "explicit", // mix what the device gives down to mono
      processorOptions: { rate: MICROPHONE_RATE, chunkSamples: CHUNK_SAMPLES },
    }));
    node.port.onmessage = ({ data }) => (data.done ? this.#flushed?.() : this.#onChunk(data));
    stream.getAudioTracks()[0].onended = () => this.#onGone();
    context.createMediaStreamSource(stream).connect(node);
    // Some browsers run only what leads to the speakers; the node's own output is silence.
    node.connect(context.destination);
  }

  /** Hand out the last part of a chunk, then let the device go. An `open` that still waits is MIC_CANCELED. */
  async close() {
    this.#cancel?.();
    if (this.#node) {
      /** @type {Promise<void>} */
      const flushed = new Promise((resolve) => (this.#flushed = resolve));
      this.#node.port.postMessage("flush");
      await Promise.race([flushed, new Promise((resolve) => setTimeout(resolve, FLUSH_MS))]);
    }
    if (this.#stream) release(this.#stream);
    if (this.#context && this.#context.state !== "closed") await this.#context.close();
    this.#node = this.#context = this.#stream = undefined;
  }

  /** @param {string} code @param {unknown} [cause] */
  #failure(code, cause) {
    return new EmotionError(code, said(WORDS[code], this.#language), { cause });
  }
}

/** @param {MediaStream} stream */
function release(stream) {
  stream.getTracks().forEach((track) => track.stop());
}
