/* The microphone: permission, the audio graph, and 100 ms chunks of 16 kHz PCM16 by callback.
   Every failure is thrown as a MicError whose `code` has its words in text.js. Knows nothing of the wire. */

export const RATE = 16000;
const CHUNK_SAMPLES = RATE / 10; // 100 ms: small against the model's own hop, 10 messages a second

export class MicError extends Error {
  constructor(code, cause) {
    super(code, { cause });
    this.code = code;
  }
}

const CODES = {
  NotAllowedError: "MIC_DENIED",
  SecurityError: "MIC_DENIED",
  NotFoundError: "MIC_MISSING",
  OverconstrainedError: "MIC_MISSING",
  NotReadableError: "MIC_BUSY",
  AbortError: "MIC_BUSY",
};

export class Mic {
  /** `onChunk({pcm, samples, level})` for each chunk; `onGone()` if the device is pulled out. */
  constructor(onChunk, onGone) {
    this.onChunk = onChunk;
    this.onGone = onGone;
  }

  async open() {
    if (!window.isSecureContext || !navigator.mediaDevices) throw new MicError("MIC_INSECURE");
    if (!window.AudioWorkletNode) throw new MicError("MIC_UNSUPPORTED");
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({
        // How loud and how steady a voice is belongs to how it feels: ask for it untouched.
        audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false },
      });
      await this.listen();
    } catch (problem) {
      await this.close();
      throw new MicError(CODES[problem.name] ?? "MIC_FAILED", problem);
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
      processorOptions: { rate: RATE, chunkSamples: CHUNK_SAMPLES },
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
