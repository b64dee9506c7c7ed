"""A stock Flask-SocketIO server that answers chunks with results of our shape: what the transport alone costs.

Nothing is tuned: `Flask`, `SocketIO(app, async_mode="eventlet")`, handlers on `@socketio.on`, the audio
decoded as a plain application would do it, no model, no speech detection. To compare like with like it
answers the same fraction of the chunks as the measured server did, with results of the same size.

    python -m bench.stock_echo --port 5001 --results-per-chunk 0.6 --frames 20 --bytes 1900
"""

import eventlet

eventlet.monkey_patch()

import argparse  # noqa: E402  (after the monkey-patching, as every eventlet application must)
import base64  # noqa: E402
import json  # noqa: E402
from itertools import cycle  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from flask import Flask, request  # noqa: E402
from flask_socketio import SocketIO, emit  # noqa: E402

LABELS = ("angry", "disgusted", "fearful", "happy", "neutral", "other", "sad", "surprised", "unknown")
STEP, FRAME = 160, 400  # samples
SAMPLES = {"pcm_s16le": np.int16, "pcm_f32le": np.float32, "mulaw": np.uint8}


def result(rng: np.random.Generator, frames: int, decimals: int) -> dict[str, Any]:
    """An `emotion_result` as the contract has it, with scores rounded to `decimals`."""
    scores = rng.dirichlet(np.ones(len(LABELS)), frames)
    rows = [[round(float(p), decimals) for p in row] for row in scores]
    return {
        "session_id": "0123456789abcdef0123456789abcdef",
        "granularity": "frame",
        "start_ms": 0,
        "frame_ms": 25,
        "step_ms": 10,
        "frame_scores": rows,
        "frame_emotions": [LABELS[int(np.argmax(row))] for row in rows],
        "frame_confidences": [max(row) for row in rows],
        "emotion": "neutral",
        "confidence": rows[0][4],
        "scores": dict(zip(LABELS, rows[0], strict=True)),
        "queue_ms": 1.234,
        "infer_ms": 2.345,
        "latency_ms": 0.0,
    }


def message_bytes(payload: dict[str, Any]) -> int:
    """Size of the WebSocket message that carries `payload`."""
    return 2 + len(json.dumps(["emotion_result", payload], separators=(",", ":")))


def bank(frames: int, target_bytes: int) -> list[dict[str, Any]]:
    """Sixty-four results whose mean size is as near to `target_bytes` as a number of decimals can bring it."""

    def made(decimals: int) -> list[dict[str, Any]]:
        rng = np.random.default_rng(0)
        return [result(rng, frames, decimals) for _ in range(64)]

    return min((made(d) for d in range(2, 17)), key=lambda some: abs(mean_bytes(some) - target_bytes))


def mean_bytes(results: list[dict[str, Any]]) -> float:
    return sum(map(message_bytes, results)) / len(results)


def application(
    results_per_chunk: float, results: list[dict[str, Any]], encoding: str
) -> tuple[Flask, SocketIO]:
    """The server: state per client is a count of samples, and what is owed of the next result."""
    app = Flask(__name__)
    socketio = SocketIO(app, async_mode="eventlet")
    heard: dict[str, int] = {}
    owed: dict[str, float] = {}
    ready = cycle(results)
    kind = SAMPLES[encoding]

    @app.get("/readyz")
    def readyz() -> str:
        return "ready"

    @socketio.on("start")  # type: ignore[untyped-decorator]
    def start(_: dict[str, Any]) -> dict[str, Any]:
        sid = request.sid  # type: ignore[attr-defined]
        heard[sid], owed[sid] = 0, 0.0
        return {"ok": True}

    @socketio.on("audio_stream")  # type: ignore[untyped-decorator]
    def audio(payload: dict[str, Any]) -> dict[str, Any]:
        sid = request.sid  # type: ignore[attr-defined]
        chunk = payload["chunk"]
        samples = np.frombuffer(base64.b64decode(chunk) if isinstance(chunk, str) else chunk, kind)
        heard[sid] += len(samples)
        owed[sid] += results_per_chunk
        if owed[sid] >= 1.0:
            owed[sid] -= 1.0
            answer = next(ready)
            end_frame = (heard[sid] - FRAME) // STEP + 1
            answer["start_ms"] = max(0, end_frame - len(answer["frame_scores"])) * 10
            emit("emotion_result", answer)
        return {"ok": True, "received_ms": heard[sid] / 16}

    @socketio.on("flush")  # type: ignore[untyped-decorator]
    def flush(_: dict[str, Any]) -> dict[str, Any]:
        return {"ok": True}

    @socketio.on("stop")  # type: ignore[untyped-decorator]
    def stop(_: dict[str, Any]) -> dict[str, Any]:
        return {}

    return app, socketio


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--results-per-chunk", type=float, default=1.0)
    parser.add_argument("--frames", type=int, default=10, help="frames per result")
    parser.add_argument("--bytes", type=int, default=1250, help="mean size of a result, as a message")
    parser.add_argument("--encoding", choices=tuple(SAMPLES), default="pcm_s16le")
    options = parser.parse_args()
    results = bank(options.frames, options.bytes)
    app, socketio = application(options.results_per_chunk, results, options.encoding)
    socketio.run(app, host="127.0.0.1", port=options.port)


if __name__ == "__main__":
    main()
