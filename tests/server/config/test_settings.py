"""Settings: their order of precedence, what fits together, and config.yaml as its own documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from server import config
from server.config import Config, ConfigError
from server.config.loading import known_paths
from stream.types import ModelSpec
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("EMOTION_"):
            monkeypatch.delenv(name)


def file_with(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_file_that_ships_holds_every_setting_and_its_default() -> None:
    shipped = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    assert shipped == Config().model_dump(mode="json")


def test_every_setting_in_the_file_that_ships_says_what_it_is() -> None:
    for line in (ROOT / "config.yaml").read_text(encoding="utf-8").splitlines():
        if re.match(r"  \w+:", line) and not re.match(
            r"  (host|port|max_\w+|device|log_level|hop_ms):", line
        ):
            assert "#" in line or line.strip().startswith(("messages_per_s", "aggressiveness")), line


def test_the_command_line_wins_over_variables_over_the_file_over_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file_with(tmp_path, "server: {port: 1, host: file, drain_s: 3}\n")
    assert config.load(path).server.port == 1
    monkeypatch.setenv("EMOTION_SERVER__PORT", "2")
    assert config.load(path).server.port == 2
    loaded = config.load(path, {"server": {"port": 3}})
    assert (loaded.server.port, loaded.server.host, loaded.server.drain_s) == (3, "file", 3)
    assert loaded.server.async_mode == "eventlet"


@pytest.mark.parametrize("written", ["off", "on", "auto", '"on"'])
def test_on_and_off_are_words_however_yaml_reads_them(tmp_path: Path, written: str) -> None:
    path = file_with(tmp_path, f"stream: {{legacy_events: {written}}}\n")
    assert config.load(path).stream.legacy_events == written.strip('"')


@pytest.mark.parametrize("text", ["", "# nothing\n", "speech:\n", "speech: {}\n", "---\n"])
def test_what_is_left_out_has_its_default(tmp_path: Path, text: str) -> None:
    assert config.load(file_with(tmp_path, text)).model_dump() == Config().model_dump()


def test_without_a_file_there_are_the_defaults() -> None:
    assert config.load(None).model_dump() == Config().model_dump()


@pytest.mark.parametrize("section", list(Config.model_fields))
def test_a_misspelt_key_is_refused_with_a_suggestion(tmp_path: Path, section: str) -> None:
    for key in known_paths()[section]:
        wrong = key[:-1] + "x" + key[-1]
        with pytest.raises(ConfigError, match=rf"{section}\.{wrong}: unknown key, did you mean \w+\?"):
            config.load(file_with(tmp_path, f"{section}:\n  {wrong}: 1\n"))


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as wrong:
        config.load(file_with(tmp_path, "server: {port: x}\nengine: {max_batch: 0, speed: 1}\n"))
    lines = str(wrong.value).splitlines()
    assert len(lines) == 3 and all(line.startswith("mine.yaml: ") for line in lines)


def test_a_variable_is_named_when_it_is_the_variable_that_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMOTION_ENGINE__MAX_BATCH", "0")
    with pytest.raises(ConfigError, match=r"^EMOTION_ENGINE__MAX_BATCH: engine\.max_batch: "):
        config.load(file_with(tmp_path, ""))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stream: {ring_s: 10.5}\n", ["ring_s must exceed limits.max_ahead_s"]),
        (
            "limits: {max_chunk_s: 21, max_ahead_s: 20}\nstream: {ring_s: 60}\n",
            ["max_chunk_s must not exceed"],
        ),
        ("limits: {max_chunk_bytes: 9000000}\n", ["max_chunk_bytes"]),
        ("stream: {hop_ms: 15}\n", ["stream.hop_ms", "multiple of 10"]),
        ("engine: {heartbeat_timeout_s: 1}\n", ["engine.heartbeat_timeout_s"]),
        ("server: {drain_s: .inf}\n", ["server.drain_s"]),
        ("engine: {deadline_ms: .inf}\n", ["engine.deadline_ms"]),
        ("engin:\n  threads: 1\n", ["engin", "unknown key", "engine"]),
        ("server:\n  port: many\n", ["server.port", "'many'"]),
        ("server:\n  port: 70000\n", ["server.port", "65535"]),
        ("server:\n  async_mode: gevent\n", ["server.async_mode", "eventlet", "threading"]),
        ("model:\n  device: gpu\n", ["model.device"]),
        ("speech:\n  onset_ms: 55\n", ["speech.onset_ms", "multiple of 10"]),
        ("speech:\n  aggressiveness: 4\n", ["speech.aggressiveness"]),
        ("limits:\n  max_ahead_s: .nan\n", ["limits.max_ahead_s"]),
        ("limits:\n  max_sessions: 0\n", ["limits.max_sessions"]),
        ("limits:\n  max_sessions: 1.5\n", ["limits.max_sessions"]),
        ("server: 5\n", ["server"]),
        ("server: [a, b]\n", ["server"]),
        ("model: {precision: float16, device: cpu}\n", ["model", "float16 is for GPUs"]),
        ("- a\n- b\n", []),
        ("just text\n", []),
        ("server:\n\tport: 1\n", ["not YAML"]),
        ("server: {port: 1\n", ["not YAML"]),
        ("\x00", []),
    ],
)
def test_what_cannot_be_used_is_named_with_its_path(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as wrong:
        config.load(file_with(tmp_path, text))
    for word in ["mine.yaml", *words]:
        assert word in str(wrong.value)


@pytest.mark.parametrize("data", [b"\xff\xfe\x00server", b"server: {host: \xe4}\n"])
def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"mine\.yaml"):
        config.load(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: there is no such file"):
        config.load(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("EMOTION_SERVER__PROT", "1", ["EMOTION_SERVER__PROT", "EMOTION_SERVER__PORT"]),
        ("EMOTION_PORT", "1", ["EMOTION_PORT", "unknown environment variable"]),
        ("EMOTION_SERVER__PORT", "many", ["EMOTION_SERVER__PORT", "'many'"]),
        ("EMOTION_SERVER", "{port", ["EMOTION_SERVER"]),
        ("EMOTION_LIMITS__MAX_AHEAD_S", "-1", ["EMOTION_LIMITS__MAX_AHEAD_S"]),
    ],
)
def test_variables_that_cannot_be_used_are_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: list[str]
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as wrong:
        config.load(None)
    for word in words:
        assert word in str(wrong.value)


def spec(hop: int) -> ModelSpec:
    return ModelSpec("m", "cpu", "float32", hop_frames=hop, lookahead_frames=0, state_size=1)


def test_times_become_frames_and_samples() -> None:
    settings = Config().stream_config(spec(hop=10))
    assert (settings.hop, settings.max_hop) == (10, 80)
    assert (settings.gate.onset, settings.gate.pre_roll, settings.gate.hangover) == (6, 10, 40)
    assert settings.gate.max_span == 3000
    assert settings.ring == round(Config().stream.ring_s * 16_000)
    assert settings.smoothing == 50


def test_a_hop_that_the_model_cannot_take_is_refused(tmp_path: Path) -> None:
    loaded = config.load(file_with(tmp_path, "stream: {hop_ms: 120}\n"))
    assert loaded.stream_config(spec(hop=4)).hop == 12
    with pytest.raises(ConfigError, match="multiple of 100"):
        loaded.stream_config(spec(hop=10))


def test_settings_cannot_be_changed_while_it_runs() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().server.port = 1  # type: ignore[misc]
