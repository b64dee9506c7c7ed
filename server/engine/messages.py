"""What the server and its model process say to each other: JSON for the small things, raw float32 for arrays.

Each message is a list of frames, as ZeroMQ carries them; nothing is ever unpickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import orjson

from server.engine import Timing
from stream.types import N_LABELS, Answer, Failed, Floats, FrameScores, ModelSpec, RecordingWindow, Window

Frames = Sequence[bytes | memoryview]


@dataclass(frozen=True)
class Ready:
    """The model has loaded."""

    spec: ModelSpec


@dataclass(frozen=True)
class Fatal:
    """The model cannot load, and trying again will not help."""

    message: str


@dataclass(frozen=True)
class Heartbeat:
    """Sent about once a second by a process that has nothing else to send."""


@dataclass(frozen=True, eq=False)
class Answers:
    """The answers to all windows of one batch."""

    items: list[tuple[int, Answer, Timing]]
    fallbacks: dict[str, int] = field(default_factory=dict)  # see Health; counted since the process began
    replica: int = 0  # of those that one process speaks for


@dataclass(frozen=True)
class Fleet:
    """How the replicas are that a process speaks for, in their order. One that has any sends it once a second."""

    up: list[bool]
    outstanding: list[int]  # windows that each was given and has not answered
    restarts: list[int]  # since the last such message


Message = Ready | Fatal | Heartbeat | Answers | Fleet


def pack_window(ticket: int, window: Window, submitted_s: float) -> Frames:
    """`submitted_s`: time.monotonic(), one clock for all processes of a machine."""
    head = {
        "ticket": ticket,
        "session": window.session_id,
        "first": window.first_frame,
        "n": window.n_frames,
        "starts": window.starts_span,
        "left": window.left_frames,
        "right": window.right_frames,
        "embed": window.embed,
        "background": window.background,
        "recording": isinstance(window, RecordingWindow),
        "at": submitted_s,
    }
    state = b"" if window.state is None else window.state.data
    return [orjson.dumps(head), window.samples.data, state]


def unpack_window(frames: Sequence[bytes]) -> tuple[int, Window, float]:
    head = orjson.loads(frames[0])
    window = (RecordingWindow if head["recording"] else Window)(
        session_id=head["session"],
        first_frame=head["first"],
        n_frames=head["n"],
        starts_span=head["starts"],
        samples=np.frombuffer(frames[1], np.float32),
        state=np.frombuffer(frames[2], np.float32) if frames[2] else None,
        left_frames=head["left"],
        right_frames=head["right"],
        embed=head["embed"],
        background=head["background"],
    )
    return head["ticket"], window, head["at"]


def pack(message: Message) -> Frames:
    if isinstance(message, Ready):
        return [orjson.dumps({"kind": "ready", "spec": asdict(message.spec)})]
    if isinstance(message, Fatal):
        return [orjson.dumps({"kind": "fatal", "message": message.message})]
    if isinstance(message, Heartbeat):
        return [b'{"kind":"heartbeat"}']
    if isinstance(message, Fleet):
        return [orjson.dumps({"kind": "fleet", **asdict(message)})]
    heads: list[dict[str, Any]] = []
    arrays: list[Floats] = []
    for ticket, answer, timing in message.items:
        head: dict[str, Any] = {"ticket": ticket, "timing": [timing.queue_s, timing.infer_s]}
        if isinstance(answer, Failed):
            head["failed"] = asdict(answer)
        else:
            head["n"], head["gain"] = len(answer.logits), answer.gain
            optional = {"state": answer.state, "embedding": answer.embedding}
            head |= {name: 0 if array is None else len(array) for name, array in optional.items()}
            arrays += [answer.logits.ravel(), answer.weights]
            arrays += [array for array in optional.values() if array is not None]
        heads.append(head)
    body = (
        np.concatenate(arrays, dtype=np.float32, casting="same_kind") if arrays else np.empty(0, np.float32)
    )
    rest = {"fallbacks": message.fallbacks, "replica": message.replica}
    return [orjson.dumps({"kind": "answers", "items": heads, **rest}), body.data]


def unpack(frames: Sequence[bytes]) -> Message:
    head = orjson.loads(frames[0])
    if head["kind"] == "ready":
        spec = dict(head["spec"], supported_labels=tuple(head["spec"]["supported_labels"]))
        return Ready(ModelSpec(**spec))
    if head["kind"] == "fatal":
        return Fatal(head["message"])
    if head["kind"] == "heartbeat":
        return Heartbeat()
    if head["kind"] == "fleet":
        return Fleet(head["up"], head["outstanding"], head["restarts"])
    body, at = np.frombuffer(frames[1], np.float32), 0
    items: list[tuple[int, Answer, Timing]] = []
    for item in head["items"]:
        timing = Timing(*item["timing"])
        if "failed" in item:
            items.append((item["ticket"], Failed(**item["failed"]), timing))
            continue
        n = item["n"]
        weights_at, state_at = at + n * N_LABELS, at + n * (N_LABELS + 1)
        embedding_at = state_at + item["state"]
        logits, weights = body[at:weights_at].reshape(n, N_LABELS), body[weights_at:state_at]
        # Copies: a session keeps its state for long, and a view would keep the whole batch alive with it.
        state = body[state_at:embedding_at].copy() if item["state"] else None
        at = embedding_at + item["embedding"]
        embedding = body[embedding_at:at].copy() if item["embedding"] else None
        items.append((item["ticket"], FrameScores(logits, weights, state, embedding, item["gain"]), timing))
    return Answers(items, head["fallbacks"], head["replica"])
