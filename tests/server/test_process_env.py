"""Which variables each process of ours is started with."""

from __future__ import annotations

import pytest

from server import process_env


def test_the_server_frees_memory_and_its_model_process_does_not_inherit_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "7")
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    server = process_env.of_server()
    assert server["MALLOC_ARENA_MAX"] == "7", "an operator's own setting wins"
    assert server["MALLOC_TRIM_THRESHOLD_"] == "131072"
    monkeypatch.setattr("os.environ", server)
    model = process_env.of_model_process(3)
    assert not [name for name in model if name.startswith("MALLOC_")]
    assert model["OMP_NUM_THREADS"] == "3" and model["PATH"] == server["PATH"]


def test_a_process_that_reads_files_of_strangers_gets_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOTION_SERVER__TOKEN", "a-secret")
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    given = process_env.of_file_process()
    assert "a-secret" not in given.values() and given["TZ"] == "Asia/Shanghai"
