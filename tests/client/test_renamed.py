"""Old names of the Python client: they work, and a warning at the caller names the new one."""

from __future__ import annotations

import asyncio
import inspect
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from emotion_stream_client import AsyncEmotionClient, EmotionClient, Recognition
from emotion_stream_client.events import Utterance, event_of

from tests.conftest import Server

CUSTOM = {"name": "mine", "label": "bored", "confidence": 0.9, "scores": {"bored": 0.9, "keen": 0.1}}
UTTERANCE = {"start_ms": 0, "end_ms": 500, "emotion": "happy", "confidence": 0.5, "scores": {}}
RESULT = {
    "id": "r",
    "granularity": "utterance",
    "emotion": "happy",
    "confidence": 0.5,
    "scores": {},
    "duration_s": 1.0,
    "model": "compact",
    "files": {},
}


def warned(call: Callable[[], Any], *words: str) -> Any:
    """What `call` gives; it warns once, at the line on which the old name is used, and says `words`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        given = call()
    (warning,) = [w for w in caught if w.category is DeprecationWarning]
    first = inspect.getsourcelines(call)[1]
    assert warning.filename == __file__ and first <= warning.lineno <= first + 2, warning
    assert all(word in str(warning.message) for word in (*words, "0.3.0")), warning.message
    return given


def unwarned(call: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return call()


def test_recognise_is_recognize(client: EmotionClient, demo_wav: Path) -> None:
    new = unwarned(lambda: client.recognize(demo_wav, retry_timeout_s=60))
    old = warned(lambda: client.recognise(demo_wav), "recognise()", "recognize()")
    patient = warned(
        lambda: client.recognize(demo_wav, patience_s=60),  # type: ignore[call-arg]
        "patience_s",
        "retry_timeout_s",
    )
    assert old.scores == new.scores == patient.scores


def test_recognise_with_asyncio_warns_where_it_is_called_not_where_it_runs(
    server: Server, demo_wav: Path
) -> None:
    async def work() -> list[Recognition]:
        async with AsyncEmotionClient(server.url) as client:
            old = warned(lambda: client.recognise(demo_wav, granularity="frame"), "recognize()")
            patient = warned(
                lambda: client.recognize(demo_wav, patience_s=60),  # type: ignore[call-arg]
                "retry_timeout_s",
            )
            return list(await asyncio.gather(old, patient))

    old, patient = asyncio.run(work())
    assert (old.granularity, patient.granularity) == ("frame", "utterance")


@pytest.mark.parametrize("kind", [EmotionClient, AsyncEmotionClient])
def test_a_stream_takes_its_time_out_by_both_names(kind: Any) -> None:
    client = kind("http://127.0.0.1:9")
    warned(lambda: client.stream(patience_s=3), "stream(patience_s=)", "connect_timeout_s=")
    unwarned(lambda: client.stream(connect_timeout_s=3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(TypeError, match="same argument"):
            client.stream(patience_s=3, connect_timeout_s=3)


def test_the_old_name_of_a_time_out_is_heeded(server: Server) -> None:
    """The one that a client gives by its old name is the one that it waits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stream = AsyncEmotionClient(server.url).stream(patience_s=3)
    assert stream._connect_timeout_s == 3


def test_custom_labels_have_both_names() -> None:
    said = {**UTTERANCE, "taught": CUSTOM}  # its name on the wire
    event = event_of("utterance_result", said)
    result = Recognition.of({**RESULT, "utterances": [said], "taught": CUSTOM})
    assert isinstance(event, Utterance)
    for found in (event, result, result.utterances[0]):
        assert unwarned(lambda found=found: found.custom_labels) == CUSTOM  # type: ignore[misc]
        assert warned(lambda found=found: found.taught, "taught", "custom_labels") == CUSTOM  # type: ignore[misc]
    without = Recognition.of({**RESULT, "utterances": []})
    assert without.custom_labels is None
