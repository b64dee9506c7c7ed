/* The texts of what a recording is listened to with: chart, waveform, list. Pages that show it add them. */

const en = {
  "chart.time": "Over time",
  "chart.wave": "Waveform",
  "chart.at": "at {time}",
  "chart.how": "Click to set the cursor, drag to zoom.",
  "chart.mean": "Mean of each {each}. Drag to zoom.",
  "chart.frames": "A point for every frame of {each}.",
  stage: "Position. Space plays, arrows move, plus and minus zoom, 0 shows all.",
  "save.picture": "Save as PNG",
  play: "Play",
  pause: "Pause",
  "zoom.in": "Zoom in",
  "zoom.out": "Zoom out",
  "zoom.all": "All",
  "utterance.span": "Play {from} to {to}",
};

const zh = {
  "chart.time": "随时间变化",
  "chart.wave": "波形",
  "chart.at": "{time} 时",
  "chart.how": "点击定位，拖动放大。",
  "chart.mean": "每 {each} 取平均，拖动放大。",
  "chart.frames": "每帧 {each} 一个点。",
  stage: "播放位置。空格播放，方向键移动，加减号缩放，0 显示全部。",
  "save.picture": "保存为 PNG",
  play: "播放",
  pause: "暂停",
  "zoom.in": "放大",
  "zoom.out": "缩小",
  "zoom.all": "全部",
  "utterance.span": "播放 {from} 至 {to}",
};

export const WORDS = { en, zh };
