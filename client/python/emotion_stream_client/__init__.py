"""The Python client of an emotion-stream server: live streams and files, with asyncio and without.

`EmotionClient` for programs with threads, `AsyncEmotionClient` for those with asyncio; both do the same. What a
stream tells is in `events`. docs/client-python.md of the server's project is the manual.
"""

from emotion_stream_client.client import AsyncEmotionClient
from emotion_stream_client.errors import EmotionError
from emotion_stream_client.events import (
    Alert,
    Event,
    Frame,
    Lost,
    Opened,
    Refused,
    Result,
    Skipped,
    SpanResult,
    Speech,
    State,
    Summary,
    Utterance,
    Waiting,
)
from emotion_stream_client.recognition import Recognition
from emotion_stream_client.stream import AsyncStream
from emotion_stream_client.threads import EmotionClient, Stream

__version__ = "0.2.0"  # the server's: tests/test_version.py compares them

__all__ = [
    "Alert",
    "AsyncEmotionClient",
    "AsyncStream",
    "EmotionClient",
    "EmotionError",
    "Event",
    "Frame",
    "Lost",
    "Opened",
    "Recognition",
    "Refused",
    "Result",
    "Skipped",
    "SpanResult",
    "Speech",
    "State",
    "Stream",
    "Summary",
    "Utterance",
    "Waiting",
]
