/* The types of emotion-stream.js, all of them public: what programs may use. docs/client-browser.md explains each,
   and docs/protocol.md the payloads, whose times are milliseconds and whose scores are probabilities. The modules
   themselves are held to this page: tests/types/contract.ts. */

export type Emotion =
  "angry" | "disgusted" | "fearful" | "happy" | "neutral" | "other" | "sad" | "surprised" | "unknown";
export type Scores = Record<Emotion, number>;
export type Encoding =
  | "auto"
  | "pcm_s16le"
  | "pcm_f32le"
  | "mulaw"
  | "alaw"
  | "wav"
  | "webm"
  | "ogg"
  | "flac"
  | "mp3"
  | "aac"
  | "mp4"
  | "amr";
export type Channel = "agent" | "customer";
export type ConnectionState = "connecting" | "online" | "offline" | "unauthorized" | "closed";
type Samples = Int16Array | Float32Array;
type ChannelSamples<Of> = [Of] | [Of, Of];

/** Samples (floats: -1 … 1), the two channels of a call, or bytes that are encoded already. */
export type Audio =
  Samples | ChannelSamples<Int16Array> | ChannelSamples<Float32Array> | Uint8Array | ArrayBuffer;

/** Socket.IO's `io`, 4.x. */
export type SocketIo = (uri: string, options: object) => any;

// -- errors ------------------------------------------------------------------------------------------------

/** An error as it stands on the wire; servers before 0.2.0 do not say `retryable`. */
export interface ServerError {
  code: string;
  message: string;
  retryable?: boolean;
  /** Seconds to wait before the same is asked again. */
  retry_after_s?: number;
}

export interface EmotionErrorOptions {
  status?: number;
  retryAfter?: number;
  retryable?: boolean;
  fatal?: boolean;
  cause?: unknown;
}

/** What went wrong, by the codes of docs/protocol.md; besides these DISCONNECTED, PROTOCOL, CLOSED and MIC_…. */
export class EmotionError extends Error {
  constructor(code: string, message: string, options?: EmotionErrorOptions);
  readonly code: string;
  /** Of the HTTP answer, where there was one. */
  readonly status: number | undefined;
  /** Seconds that the server asks to wait. */
  readonly retryAfter: number | undefined;
  /** Whether the same may succeed a little later. */
  readonly retryable: boolean;
  /** Whether it ended the session. */
  readonly fatal: boolean;
}

// -- live streams ------------------------------------------------------------------------------------------

/** What to ask of a session, as `start` takes it; options that this version does not know are passed on. */
export interface SessionOptions {
  sessionId?: string;
  encoding?: Encoding;
  /** 8000–192000; default 16000. */
  sampleRate?: number;
  channels?: 1 | 2;
  /** Whether each single frame comes as an event `frame`. */
  frameResults?: boolean;
  /** Of the messages of errors; default: as the browser asks. */
  language?: "en" | "zh";
  name?: string;
  tags?: Record<string, string>;
  [option: string]: unknown;
}

/** An access token, or what gives one, asked before each connection: see `POST /api/v1/tokens`. */
export type Token = string | (() => string | Promise<string>);

export interface StreamOptions extends SessionOptions {
  /** Where the server is; default: where the module came from. */
  url?: string | URL;
  /** Of Socket.IO on the server; default: `socket.io` below `url`. */
  path?: string;
  token?: Token;
  io?: SocketIo;
  /** Seconds that `open` waits for a server that is away, busy or loading, and `flush` and `stop` for a broken
   *  connection; default 30. */
  connectTimeoutS?: number;
  /** Milliseconds of audio kept while it cannot be sent; default 30 000. */
  bufferMs?: number;
  /** `stop` leaves the connection open for the next `open`. */
  keepConnection?: boolean;
  /** @deprecated since 0.2.0: `connectTimeoutS` */
  patience?: number;
}

export interface StopOptions {
  /** Seconds to wait for a broken connection; default: as for `open`. */
  connectTimeoutS?: number;
  /** @deprecated since 0.2.0: `connectTimeoutS` */
  patience?: number;
}

/** The server's answer to `start`. */
export interface Session {
  session_id: string;
  resume_token: string;
  resumed: boolean;
  next_seq: number;
  model: string;
  /** What it takes to be likely before it has heard anything. */
  prior: Prior;
  /** Tells its weights from others of its name. */
  model_fingerprint?: string;
  labels: Emotion[];
  frame_ms: number;
  step_ms: number;
  hop_ms: number;
  lookahead_ms: number;
  channels?: [Channel, Channel];
  watch?: string;
}

/** `replaced`: an earlier session could not be resumed. `origin_ms`: where its 0 ms lies in what was sent. */
export interface SessionOpened extends Session {
  replaced: boolean;
  origin_ms: number;
}

interface OfSession {
  session_id: string;
  /** Of sessions with two channels. */
  channel?: Channel;
}

export type Prior = "balanced" | "conversation" | "custom";

interface Verdict {
  emotion: Emotion;
  confidence: number;
  /** The first label leads the second by less than 0.1. */
  ambiguous: boolean;
  /** The confidence is below 0.5: wrong more often than right. */
  uncertain: boolean;
  /** The next likeliest label, where it is present, too. */
  second: Emotion | null;
  /** -1 (calm) to 1 (excited). */
  arousal: number;
  /** -1 (unpleasant) to 1 (pleasant). */
  valence: number;
  scores: Scores;
}

export interface EmotionResult extends OfSession, Verdict {
  granularity: "frame";
  start_ms: number;
  frame_ms: number;
  step_ms: number;
  /** A row of nine for each frame, in the order of the labels. */
  frame_scores: number[][];
  frame_emotions: Emotion[];
  frame_confidences: number[];
  queue_ms: number;
  infer_ms: number;
  latency_ms: number;
}

export interface FrameResult extends OfSession, Verdict {
  timestamp: number;
}

export interface Speech extends OfSession {
  state: "start" | "end";
  at_ms: number;
}

/** What labels of the operator's own say. */
export interface CustomLabels {
  name: string;
  label: string;
  confidence: number;
  scores: Record<string, number>;
}

export interface Utterance extends OfSession, Verdict {
  start_ms: number;
  end_ms: number;
  model: string;
  duration_s: number;
  timestamp: string;
  timestamp_utc: string;
  taught?: CustomLabels;
}

export interface Lost extends OfSession {
  start_ms: number;
  end_ms: number;
  code: string;
}

export interface Alert extends OfSession {
  rule: string;
  level: "info" | "warning" | "critical";
  state: "raised" | "cleared" | "noted";
  at_ms: number;
  message: string;
  message_zh?: string;
}

export interface SpanOptions {
  /** Of a session with two. */
  channel?: Channel;
  /** Thresholds of labels, where the server's 0.25 is not wanted. */
  present?: Partial<Scores>;
}

/** What is known of a stretch; the verdict and `present` only where anything was scored. */
export interface SpanResult extends OfSession, Partial<Verdict> {
  begin_ms: number;
  end_ms: number;
  /** All of it is held, and no scores are to come. */
  complete: boolean;
  /** That were scored, 10 ms each. */
  frames: number;
  /** The labels whose mean reaches their threshold. */
  present?: Emotion[];
}

interface Totals {
  speech_ms: number;
  lost_ms: number;
  /** That were scored. */
  frames: number;
  /** Of the frames, by likeliest emotion. */
  share: Scores;
  /** Of that share. */
  arousal: number;
  valence: number;
}

export interface Summary extends Totals {
  session_id: string;
  reason: "stop" | "idle" | "disconnect" | "shutdown";
  audio_ms: number;
  channels?: Record<Channel, Totals>;
  /** Of a call with two channels that were both heard: who spoke how much, and how they took turns. */
  dynamics?: Dynamics;
  utterances: Utterance[];
  incomplete_bytes?: number;
}

export interface Dynamics {
  at_ms: number;
  by_channel: Record<
    Channel,
    {
      voice_ms: number;
      share: number;
      interruptions: number;
      reactions: number;
      reaction_ms: number | null;
      longest_reaction_ms: number | null;
    }
  >;
  overlaps: number;
  overlap_ms: number;
  silence_ms: number;
  longest_silence_ms: number;
}

/** The payload of each event; "*" is every message of the server, under its name on the wire. */
export interface StreamEvents {
  result: EmotionResult;
  frame: FrameResult;
  speech: Speech;
  utterance: Utterance;
  lost: Lost;
  alert: Alert;
  summary: Summary;
  state: { state: ConnectionState };
  session: SessionOpened;
  /** The server wants a pause, or has no room yet; null: that is over. */
  waiting: ServerError | null;
  /** Audio for which there was no room. */
  dropped: { ms: number };
  error: EmotionError;
  "*": { event: string; payload: any };
}

/** What a `for await` over a stream gives; `skipped` names what a loop that fell behind has missed. */
export type StreamItem =
  | { [E in Exclude<keyof StreamEvents, "*">]: { event: E; payload: StreamEvents[E] } }[Exclude<
      keyof StreamEvents,
      "*"
    >]
  | { event: "skipped"; payload: { events: number } };

/** One session at a time over a connection of its own, resumed when the network breaks. */
export class EmotionStream implements AsyncIterable<StreamItem> {
  constructor(options?: StreamOptions);
  readonly state: ConnectionState;
  readonly token: Token | undefined;
  /** Milliseconds of audio that wait to be sent or acknowledged. */
  readonly bufferedMs: number;
  on<E extends keyof StreamEvents>(event: E, listener: (payload: StreamEvents[E]) => void): this;
  off<E extends keyof StreamEvents>(event: E, listener: (payload: StreamEvents[E]) => void): this;
  [Symbol.asyncIterator](): AsyncIterator<StreamItem>;
  /** Connect now, before a session is wanted; `token` replaces the one given at first. */
  connect(token?: Token): Promise<void>;
  /** The network seems to be back: try at once. */
  hurry(): void;
  /** Open a session; audio that is sent meanwhile waits. */
  open(session?: SessionOptions): Promise<Session>;
  /** Take audio. False when there is no room for it, or no session. */
  send(audio: Audio): boolean;
  /** Resolves once at most `ms` of audio wait. */
  drained(ms?: number): Promise<void>;
  /** Resolves once everything given so far has been scored and told. */
  flush(): Promise<void>;
  /** The scores of a stretch of the last ten minutes of the session, as far as they are there. */
  span(beginMs: number, endMs: number, options?: SpanOptions): Promise<SpanResult>;
  /** Send what is left and close the session. */
  stop(options?: StopOptions): Promise<Summary>;
  /** Hang up. A session that is open ends without a summary, and audio that waits is thrown away. */
  close(): void;
}

// -- the microphone ----------------------------------------------------------------------------------------

/** 100 ms of 16 kHz PCM16. `level`: its RMS, 0 … 1. */
export interface MicrophoneChunk {
  pcm: ArrayBuffer;
  samples: number;
  level: number;
}

export interface MicrophoneOptions {
  /** The device was pulled out. */
  onGone?: () => void;
  /** Of getUserMedia, such as {deviceId}. */
  constraints?: MediaTrackConstraints;
  /** Gives what to hear instead of a microphone, such as the sound of a tab (getDisplayMedia). It is stopped at close. */
  source?: () => Promise<MediaStream>;
  /** Of what is wrong; default: the browser's. */
  language?: "en" | "zh";
}

export const MICROPHONE_RATE: number;

export class Microphone {
  constructor(onChunk: (chunk: MicrophoneChunk) => void, options?: MicrophoneOptions);
  /** Asks for the permission: do this in a click. Throws EmotionError, MIC_…. */
  open(): Promise<void>;
  /** Hands out the last part of a chunk, then lets the device go; an `open` that still waits throws MIC_CANCELED. */
  close(): Promise<void>;
}

/** Mono samples of one whole rate → another, piece by piece. */
export class Resampler {
  constructor(from: number, to: number);
  push(input: Float32Array): Float32Array;
}

// -- files -------------------------------------------------------------------------------------------------

export interface Step {
  step: string;
  ms: number;
  detail: string;
}

export interface RecognizeOptions {
  url?: string | URL;
  token?: string;
  granularity?: "utterance" | "frame";
  /** Of the steps and of what is wrong; default: as the browser asks. */
  language?: "en" | "zh";
  /** Whether the result's files hold embedding.npy too. */
  embedding?: boolean;
  /** Seconds during which it is tried again after an error that is `retryable`, such as BUSY; default 0. */
  retryTimeoutS?: number;
  signal?: AbortSignal;
  onUpload?: (fraction: number) => void;
  onStep?: (step: Step) => void;
  onProgress?: (progress: { done_s: number; total_s: number | null }) => void;
  /** @deprecated since 0.2.0: `retryTimeoutS` */
  patience?: number;
}

/** docs/api.md explains each field; those of frames come at granularity `frame`. */
export interface Recognition extends Verdict {
  success: true;
  id: string;
  granularity: "utterance" | "frame";
  model: string;
  /** What the model took to be likely beforehand. */
  prior: Prior;
  /** Tells the model's weights from others of its name. */
  model_fingerprint?: string;
  duration_s: number;
  timestamp: string;
  timestamp_utc: string;
  /** The recording's own name, where it was sent with one. */
  file_name?: string;
  utterances: (Verdict & { start_ms: number; end_ms: number; taught?: CustomLabels })[];
  files: { result: string; audio: string; csv: string; embedding?: string };
  steps: Step[];
  embedding_saved: boolean;
  embedding_note?: string;
  frame_scores?: number[][];
  frame_emotions?: Emotion[];
  frame_confidences?: number[];
  frame_start_ms?: number[];
  frame_ms?: number;
  step_ms?: number;
  taught?: CustomLabels;
  /** The cosine to the nearest of the operator's reference samples (files.samples), and to each by its name. */
  similarity_to_sample?: number;
  similarity_to_samples?: Record<string, number>;
  /** The worst alert rule that was raised, or "normal". */
  verdict?: string;
  alerts?: Omit<Alert, "session_id">[];
}

/** The emotion of a recording. Throws EmotionError, or the signal's reason when it is aborted. */
export function recognize(file: Blob, options?: RecognizeOptions): Promise<Recognition>;

/** @deprecated since 0.2.0: `recognize` */
export const recognise: typeof recognize;
