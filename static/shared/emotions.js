/* The nine labels of the contract, in the contract's order, with the names and the emoji that people see.
   Colors are in theme.css under the same labels. Nothing here touches the page. */

export const EMOTIONS = [
  { label: "angry", en: "Angry", zh: "生气", emoji: "😠" },
  { label: "disgusted", en: "Disgusted", zh: "厌恶", emoji: "🤢" },
  { label: "fearful", en: "Fearful", zh: "恐惧", emoji: "😨" },
  { label: "happy", en: "Happy", zh: "开心", emoji: "😊" },
  { label: "neutral", en: "Neutral", zh: "中立", emoji: "😐" },
  { label: "other", en: "Other", zh: "其他", emoji: "🤔" },
  { label: "sad", en: "Sad", zh: "难过", emoji: "😢" },
  { label: "surprised", en: "Surprised", zh: "吃惊", emoji: "😮" },
  { label: "unknown", en: "Unknown", zh: "未知", emoji: "❓" },
];

export const LABELS = EMOTIONS.map((emotion) => emotion.label);

const byLabel = new Map(EMOTIONS.map((emotion) => [emotion.label, emotion]));

/** Call the nine, in Chinese, as the server does (server.labels_zh); whether that is new.
 *  @param {string[]} names in the contract's order */
export function nameInChinese(names) {
  const before = EMOTIONS.map((emotion) => emotion.zh).join();
  EMOTIONS.forEach((emotion, i) => (emotion.zh = names[i] ?? emotion.zh));
  return before !== EMOTIONS.map((emotion) => emotion.zh).join();
}

/** The emotion called `label`; one the page does not know is shown by its own name.
 *  @param {string} label */
export function emotionOf(label) {
  return byLabel.get(label) ?? { label, en: label, zh: label, emoji: "❓" };
}

/** Scores come as a row in label order, or as {label: p}: give the row.
 *  @param {number[] | Record<string, number>} scores */
export function asRow(scores) {
  return Array.isArray(scores) ? scores : LABELS.map((label) => scores?.[label] ?? 0);
}
