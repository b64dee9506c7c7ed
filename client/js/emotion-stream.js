/* The browser client of an emotion-stream server: plain ES modules, no build step. Import it from the server
   (`/client/emotion-stream.js`), or copy this folder into a project of your own: docs/client-browser.md. */

export { EmotionError } from "./errors.js";
export { Microphone, MICROPHONE_RATE } from "./microphone.js";
export { recognise, recognize } from "./recognize.js";
export { Resampler } from "./resample.js";
export { EmotionStream } from "./stream.js";
