"""Keys under old names: accepted for one version, from the file, the environment and options, and said so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from server import config
from server.config import Config, ConfigError
from server.config.renames import RENAMED
from tests.conftest import ROOT
from tests.server.conftest import running

KEYS = [(section, old, new) for section, keys in RENAMED.items() for old, new in keys.items()]
# Of each new key, a value that is not its default.
VALUES = {
    "custom_labels": "labels",
    "heartbeat_timeout_s": 7.5,
    "hangover_ms": 250,
    "refill_rate": 3.5,
    "max_ahead_s": 9.5,
    "ended_ttl_s": 11.5,
}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("EMOTION_"):
            monkeypatch.delenv(name)


def value_of(loaded: Config, section: str, key: str) -> object:
    return getattr(getattr(loaded, section), key)


def test_the_table_names_keys_that_are_gone_and_keys_that_are_there() -> None:
    defaults = Config()
    for section, old, new in KEYS:
        fields = type(getattr(defaults, section)).model_fields
        assert new in fields and old not in fields
        assert value_of(defaults, section, new) != VALUES[new]


@pytest.mark.parametrize(("section", "old", "new"), KEYS)
def test_in_the_file(tmp_path: Path, section: str, old: str, new: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"{section}: {{{old}: {VALUES[new]}}}\n")
    loaded = config.load(path)
    assert value_of(loaded, section, new) == VALUES[new]
    (warning,) = loaded.warnings
    assert warning.startswith(f"mine.yaml: {section}.{old} is now {section}.{new}")
    path.write_text(f"{section}: {{{old}: {VALUES[new]}, {new}: {VALUES[new]}}}\n")
    with pytest.raises(ConfigError, match=rf"mine\.yaml: {section}\.{old} and {section}\.{new}"):
        config.load(path)


@pytest.mark.parametrize(("section", "old", "new"), KEYS)
def test_in_the_environment(monkeypatch: pytest.MonkeyPatch, section: str, old: str, new: str) -> None:
    was, now = (f"EMOTION_{section}__{key}".upper() for key in (old, new))
    monkeypatch.setenv(was, str(VALUES[new]))
    loaded = config.load(ROOT / "config.yaml")  # which gives the new key: variables win over the file
    assert value_of(loaded, section, new) == VALUES[new]
    (warning,) = loaded.warnings
    assert f"{was} is now {now}" in warning
    monkeypatch.setenv(now, str(VALUES[new]))
    with pytest.raises(ConfigError, match=f"{was} and {now}"):
        config.load(None)


@pytest.mark.parametrize(("section", "old", "new"), KEYS)
def test_among_options(section: str, old: str, new: str) -> None:
    loaded = config.load(ROOT / "config.yaml", {section: {old: VALUES[new]}})
    assert value_of(loaded, section, new) == VALUES[new]
    (warning,) = loaded.warnings
    was, now = (f"--{key.replace('_', '-')}" for key in (old, new))
    assert f"{was} is now {now}" in warning
    with pytest.raises(ConfigError, match=f"{was} and {now}"):
        config.load(None, {section: {old: VALUES[new], new: VALUES[new]}})


def test_the_file_that_ships_is_not_warned_of() -> None:
    assert config.load(ROOT / "config.yaml").warnings == ()


def test_a_wrong_value_is_placed_where_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("limits:\n  max_sessions: 5\n  catch_up: 0\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml: line 3: limits\.refill_rate: .*given: 0"):
        config.load(path)
    monkeypatch.setenv("EMOTION_LIMITS__CATCH_UP", "0.5")
    with pytest.raises(ConfigError, match=r"EMOTION_LIMITS__CATCH_UP: limits\.refill_rate: .*given: '0\.5'"):
        config.load(path)


def analyze(*options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli", "analyze", "demo/conversation.wav", "--model", "fake", "--json"]
    env = {**os.environ, **variables}
    return subprocess.run([*command, *options], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)


def test_the_command_line_says_it_once_and_goes_on() -> None:
    ran = analyze(EMOTION_SPEECH__HANG_OVER_MS="300")
    assert ran.returncode == 0 and '"emotion"' in ran.stdout
    assert ran.stderr.count("EMOTION_SPEECH__HANG_OVER_MS is now EMOTION_SPEECH__HANGOVER_MS") == 1


def test_the_option_taught_is_now_custom_labels() -> None:
    ran = analyze("--taught", "nowhere")
    assert ran.returncode == 2 and "nowhere: no " in ran.stderr
    assert ran.stderr.count("--taught is now --custom-labels") == 1
    both = analyze("--taught", "nowhere", "--custom-labels", "nowhere")
    assert both.returncode == 2 and "--taught and --custom-labels are the same setting" in both.stderr


def test_the_server_says_it_once_in_its_log() -> None:
    with running(model__name="fake", server__log_format="json", limits__catch_up=2) as server:
        lines = [line for line in server.log().splitlines() if "CATCH_UP is now" in line]
        (line,) = lines
        assert line.startswith("{") and '"WARNING"' in line and "EMOTION_LIMITS__REFILL_RATE" in line
