/* A program that uses the browser client's types as docs/client-browser.md shows them: it has to compile, and what
   is marked as an error has to be one. */

import {
  EmotionError,
  EmotionStream,
  Microphone,
  recognise,
  recognize,
  type Emotion,
  type Recognition,
} from "../../client/js/emotion-stream.js";

export async function live(): Promise<number> {
  const stream = new EmotionStream({ name: "desk 7", tags: { queue: "returns" }, connectTimeoutS: 60 });
  stream
    .on("result", ({ emotion, confidence, frame_scores }) =>
      console.log(emotion, confidence, frame_scores[0][8]),
    )
    .on("waiting", (error) => console.log(error?.code ?? "over"))
    .on("error", (error) => error.fatal && console.log(error.message));
  const microphone = new Microphone(({ pcm, level }) => level > 0 && stream.send(pcm));
  await microphone.open();
  const { model } = await stream.open({ sampleRate: 16_000 });
  for await (const item of stream) if (item.event === "utterance") console.log(model, item.payload.end_ms);
  const turn = await stream.span(0, 5_000, { present: { angry: 0.4 } });
  console.log(turn.complete, turn.present?.includes("angry"), turn.scores?.angry);
  const summary = await stream.stop({ connectTimeoutS: 5 });
  return summary.share.angry;
}

export async function file(recording: File): Promise<Recognition | undefined> {
  try {
    return await recognize(recording, {
      granularity: "frame",
      onUpload: (fraction) => console.log(fraction),
    });
  } catch (problem) {
    if (problem instanceof EmotionError && problem.retryable) console.log(problem.retryAfter);
    return undefined;
  }
}

export const old = recognise; // still there, and marked as deprecated
export const label: Emotion = "sad";

// @ts-expect-error: no such label
export const wrong: Emotion = "melancholy";
// @ts-expect-error: a rate is a number
export const rate = new EmotionStream({ sampleRate: "16 kHz" });
// @ts-expect-error: no such event
new EmotionStream().on("results", () => {});
// @ts-expect-error: how the stream works inside is nobody's business
new EmotionStream().settle("stop");
