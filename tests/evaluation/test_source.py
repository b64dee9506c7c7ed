"""Conversations: every clip once, one voice per session, and never too long."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from evaluation import source
from evaluation.conditions import CONVERSATION
from evaluation.dataset import Clip
from evaluation.source import PAUSE, TURNS, Source, conversations
from stream.gate import GateConfig
from stream.types import HOP, SAMPLE_RATE, Floats


def clip(i: int, speaker: str, path: Path = Path()) -> Clip:
    return Clip(path, f"{i}.wav", "mine", "", speaker, 0, "")


def test_every_clip_is_in_one_conversation_of_its_speaker() -> None:
    clips = [clip(i, ("anna", "bert", "")[i % 3]) for i in range(75)]
    found = list(conversations(clips, seed=3))
    assert sorted(i for turns in found for i in turns) == list(range(75))
    assert all(len({clips[i].speaker for i in turns}) == 1 for turns in found)
    named = [turns for turns in found if clips[turns[0]].speaker]
    assert sorted(len(turns) for turns in named) == [5, 5, *[TURNS] * 4]
    assert all(len(turns) == 1 for turns in found if turns not in named), "nobody talks with himself"
    assert found == list(conversations(clips, seed=3)) != list(conversations(clips, seed=4))
    assert any(turns != sorted(turns) for turns in named)


def test_where_clips_lie_in_a_conversation(
    tmp_path: Path, pieces: list[Floats], monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = []
    for i, piece in enumerate(pieces[:4]):
        soundfile.write(tmp_path / f"{i}.wav", piece, SAMPLE_RATE, subtype="FLOAT")
        clips.append(clip(i, "anna", tmp_path / f"{i}.wav"))
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    clips.insert(2, clip(9, "anna", tmp_path / "broken.wav"))
    made = Source(clips, (CONVERSATION,), 10.0, 0, GateConfig())
    (task,) = made
    assert set(made.unreadable) == {2}
    assert sorted(one.key for one in task.pieces) == [0, 1, 3, 4]
    assert made.audio_s == pytest.approx(sum(len(piece) for piece in pieces[:4]) / SAMPLE_RATE)
    for one in task.pieces:
        mine = pieces[one.key - (one.key > 2)]
        at = (one.first + PAUSE // 2) * HOP if one.first else 0
        assert np.array_equal(task.samples[at : at + len(mine)], mine)
        assert not task.samples[at - PAUSE * HOP : at].any()
        assert one.start is not None and one.start >= at // HOP

    monkeypatch.setattr(source, "LONGEST_S", len(task.samples) / SAMPLE_RATE / 2)
    shorter = list(Source(clips, (CONVERSATION,), 10.0, 0, GateConfig()))
    assert 2 <= len(shorter) <= 4
    assert sorted(one.key for task in shorter for one in task.pieces) == [0, 1, 3, 4]
    assert all(task.pieces[0].first == 0 for task in shorter)
