/* The modules are what emotion-stream.d.ts says of them: an error here means that one of the two is out of date. */

import * as declared from "../../client/js/emotion-stream.js";
import { EmotionError } from "../../client/js/errors.js";
import { Microphone, MICROPHONE_RATE } from "../../client/js/microphone.js";
import { recognise, recognize } from "../../client/js/recognize.js";
import { Resampler } from "../../client/js/resample.js";
import { EmotionStream } from "../../client/js/stream.js";

const modules = {
  EmotionError,
  EmotionStream,
  MICROPHONE_RATE,
  Microphone,
  Resampler,
  recognise,
  recognize,
};

/** The same names, and members that are not less than what is declared … */
modules satisfies typeof declared;

/** … nor more. */
type Extra<
  Class extends abstract new (...args: any) => any,
  Declared extends abstract new (...args: any) => any,
> = Exclude<keyof InstanceType<Class>, keyof InstanceType<Declared>>;
type None<Names extends never> = Names;
export type Nothing =
  | None<Exclude<keyof typeof modules, keyof typeof declared>>
  | None<Extra<typeof EmotionError, typeof declared.EmotionError>>
  | None<Extra<typeof EmotionStream, typeof declared.EmotionStream>>
  | None<Extra<typeof Microphone, typeof declared.Microphone>>
  | None<Extra<typeof Resampler, typeof declared.Resampler>>;
