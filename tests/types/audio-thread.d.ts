/* What there is on the audio thread (client/js/worklet.js), as far as it is used; TypeScript's own library lacks
   it. */

declare const sampleRate: number;
declare class AudioWorkletProcessor {
  readonly port: MessagePort;
}
declare function registerProcessor(
  name: string,
  processor: new (options: any) => AudioWorkletProcessor,
): void;
