/* The microphone: permission, the audio graph, and 100 ms chunks of 16 kHz PCM16 by callback.
   Every failure is thrown as an EmotionError whose code begins with MIC_. Knows nothing of the server. */

import { EmotionError } from "./errors.js";

export const MICROPHONE_RATE = 16_000;
const CHUNK_SAMPLES = MICROPHONE_RATE / 10; // 100 ms: small against a model's own hop, 10 messages a second
const CODES = {
  NotAllowedError: "MIC_DENIED",
  SecurityError: "MIC_DENIED",
  NotFoundError: "MIC_MISSING",
  OverconstrainedError: "MIC_MISSING",
  NotReadableError: "MIC_BUSY",
  AbortError: "MIC_BUSY",
};
const WORDS = {
  MIC_INSECURE: "browsers give the microphone only to https pages and to localhost",
  MIC_UNSUPPORTED: "this browser has no AudioWorklet",
  MIC_DENIED: "the microphone was not allowed",
  MIC_MISSING: "no microphone was found",
  MIC_BUSY: "another program holds the microphone",
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
  /** `onChunk({pcm, samples, level})` for each chunk (`pcm`: an ArrayBuffer to `send`, `level`: its RMS, 0 … 1);
   *  `onGone()` if the device is pulled out. `constraints`: of getUserMedia, such as {deviceId}. */
  constructor(onChunk, { onGone = () => {}, constraints = {} } = {}) {
    this.onChunk = onChunk;
    this.onGone = onGone;
    this.constraints = { ...UNTOUCHED, ...constraints };
  }

  async open() {
    if (!window.isSecureContext || !navigator.mediaDevices) throw failure("MIC_INSECURE");
    if (!window.AudioWorkletNode) throw failure("MIC_UNSUPPORTED");
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ audio: this.constraints });
      await this.listen();
    } catch (problem) {
      await this.close();
      throw failure(CODES[problem.name] ?? "MIC_FAILED", problem);
    }
  }

  async listen() {
    // At the device's own rate: asking for 16 kHz here is refused by some browsers, and filtered by
    // others in ways that differ. The worklet does it in one known way.
    this.context = new AudioContext({ latencyHint: "interactive" });
    await this.context.audioWorklet.addModule(new URL("./worklet.js", import.meta.url));
    await this.context.resume();
    this.node = new AudioWorkletNode(this.context, "capture", {
      channelCount: 1,
      channelCountMode: "explicit", // mix what the device gives down to mono
      processorOptions: { rate: MICROPHONE_RATE, chunkSamples: CHUNK_SAMPLES },
    });
    this.node.port.onmessage = ({ data }) => (data.done ? this.flushed?.() : this.onChunk(data));
    this.stream.getAudioTracks()[0].onended = () => this.onGone();
    this.context.createMediaStreamSource(this.stream).connect(this.node);
    // Some browsers run only what leads to the speakers; the node's own output is silence.
    this.node.connect(this.context.destination);
  }

  /** Hand out the last part of a chunk, then let the device go. */
  async close() {
    if (this.node) {
      const flushed = new Promise((resolve) => (this.flushed = resolve));
      this.node.port.postMessage("flush");
      await Promise.race([flushed, new Promise((resolve) => setTimeout(resolve, 300))]);
    }
    this.stream?.getTracks().forEach((track) => track.stop());
    if (this.context && this.context.state !== "closed") await this.context.close();
    this.node = this.context = this.stream = undefined;
  }
}

function failure(code, cause) {
  return new EmotionError(code, WORDS[code], { cause });
}
