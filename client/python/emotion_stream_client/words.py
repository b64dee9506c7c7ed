"""What this package itself has to say, in English and in Chinese. The server speaks for itself, in the client's
language."""

from __future__ import annotations

CHINESE = {
    "no answer from {url}: {why}": "{url} 没有应答：{why}",
    "no answer to {event}": "{event} 没有得到应答",
    "no connection: {why}": "无法连接：{why}",
    "no session with the server within {s} s": "{s} 秒内未能与服务器建立会话",
    "no session with the server within {s} s: {why}": "{s} 秒内未能与服务器建立会话：{why}",
    "not a result of an emotion-stream server: {why}": "不是 emotion-stream 服务器的结果：{why}",
    "not what an emotion-stream server says: {why}": "不是 emotion-stream 服务器会发来的内容：{why}",
    "the answer ended without a result": "应答没有给出结果就结束了",
    "HTTP {status}, not an answer of an emotion-stream server: {text}": (
        "HTTP {status}，不是 emotion-stream 服务器的应答：{text}"
    ),
    "HTTP {status} without a reason": "HTTP {status}，没有说明原因",
    "the stream has ended": "这个流已经结束",
    "the stream has ended, or is not open yet": "这个流已经结束，或尚未打开",
    "the connection broke at the end: everything was scored, the summary is lost": (
        "连接在结束时中断：全部音频已评分，但没有收到汇总"
    ),
}


def said(language: str, text: str, /, **values: object) -> str:
    """`text`, one of CHINESE, in `language` (`zh…`: Chinese), with `values` in its places."""
    return (CHINESE[text] if language.lower().startswith("zh") else text).format(**values)
