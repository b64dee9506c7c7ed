from __future__ import annotations

import pytest

from tests.stream.material import ToldVad


@pytest.fixture
def told_vad(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate hears what `material.told` says, so that a test can state where speech is."""
    monkeypatch.setattr("stream.gate.webrtcvad.Vad", ToldVad)
