"""What pictures, the report and the board's server say to people, in English and Chinese."""

from __future__ import annotations

from collections.abc import Sequence

from server.language import Language
from stream.types import LABELS, LABELS_ZH

EN = {
    "by.hour": "hour",
    "by.day": "day",
    "here": "this machine's time",
    "trend.shares": "Share of recordings by emotion, per {by}, {zone}",
    "trend.scores": "Mean score of each emotion, and mean confidence",
    "recordings": "Recordings",
    "confidence": "confidence",
    "silent": "without speech",
    "nobody": "nobody spoke",
    "groups": "Groups: {method}",
    "group": "group {n}",
    "none": "in no group",
    "by_emotion": "The same recordings by emotion",
    "and": " and ",
    "title": "Emotions in {name}",
    "made": "Made {at} by emotion-stream.",
    "models": "Model: {names}.",
    "mixed": "Shares of different models are added up below: compare with care.",
    "with_speech": "With speech",
    "audio": "Audio",
    "utterances": "Utterances",
    "mean_confidence": "Mean confidence",
    "emotions": "Emotions",
    "by_likeliest": "Recordings by their likeliest emotion.",
    "without": "Recordings by their likeliest emotion; {n} without speech are not among them.",
    "nobody_speaks": "Nobody speaks in these recordings.",
    "own_labels": "Labels of your own",
    "labels": "Labels",
    "label": "Label",
    "over_time": "Over time",
    "untimed": "{n} recordings do not say when they were made, and are not drawn.",
    "list": "Recordings",
    "recording": "Recording",
    "emotion": "Emotion",
    "Confidence": "Confidence",
    "length": "Length",
    "scored": "Scored",
    "recorded": "Recorded",
    "when": "{when}, {zone}",
    "no_speech": "no speech",
    "more": "And {n} more: the page holds the latest {shown}.",
    "unread": "Could not be read",
    "guess": "Scores are a model's guess from the voice alone. Read its card before you judge anybody by them.",
    "s": "{n} s",
    "min": "{n} min",
    "h": "{n} h",
}

ZH = {
    "by.hour": "小时",
    "by.day": "天",
    "here": "本机时间",
    "trend.shares": "每{by}各情绪的录音占比，{zone}",
    "trend.scores": "各情绪的平均得分与平均置信度",
    "recordings": "录音数",
    "confidence": "置信度",
    "silent": "无语音",
    "nobody": "无人说话",
    "groups": "聚类：{method}",
    "group": "第 {n} 组",
    "none": "未归组",
    "by_emotion": "同样的录音，按情绪着色",
    "and": " 与 ",
    "title": "{name} 的情绪报告",
    "made": "由 emotion-stream 生成于 {at}。",
    "models": "模型：{names}。",
    "mixed": "下方合计了不同模型的结果，比较时请注意。",
    "with_speech": "含语音",
    "audio": "音频时长",
    "utterances": "语句",
    "mean_confidence": "平均置信度",
    "emotions": "情绪分布",
    "by_likeliest": "按最可能的情绪统计录音。",
    "without": "按最可能的情绪统计录音；另有 {n} 条无语音，未计入。",
    "nobody_speaks": "这些录音中无人说话。",
    "own_labels": "自定义标签",
    "labels": "标签集",
    "label": "标签",
    "over_time": "随时间的变化",
    "untimed": "{n} 条录音没有时间信息，未画出。",
    "list": "录音列表",
    "recording": "录音",
    "emotion": "情绪",
    "Confidence": "置信度",
    "length": "时长",
    "scored": "识别时间",
    "recorded": "录制时间",
    "when": "{when}（{zone}）",
    "no_speech": "无语音",
    "more": "另有 {n} 条：本页只列出最近的 {shown} 条。",
    "unread": "无法读取",
    "guess": "得分只是模型根据声音作出的推测。据此评价任何人之前，请先阅读模型说明。",
    "s": "{n} 秒",
    "min": "{n} 分",
    "h": "{n} 时",
}


_CHINESE = dict(zip(LABELS, LABELS_ZH, strict=True))


def t(language: Language, key: str, **values: object) -> str:
    """The text of `key`, with `{name}` replaced from `values`."""
    return (ZH if language == "zh" else EN)[key].format(**values)


def name_in_chinese(names: Sequence[str]) -> None:
    """Call the nine emotions, in Chinese, as the settings do (server.labels_zh); in the order of LABELS."""
    _CHINESE.update(zip(LABELS, names, strict=True))


def chinese_names() -> list[str]:
    """In the order of LABELS."""
    return [_CHINESE[label] for label in LABELS]


def emotion_name(language: Language, label: str) -> str:
    """What the emotion is called."""
    return _CHINESE[label] if language == "zh" else label


def method_name(language: Language, name: str) -> str:
    """How groups were found (`tools.cluster`)."""
    return name.replace(" and ", t(language, "and"))
