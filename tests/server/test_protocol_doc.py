"""docs/protocol.md and config.yaml say what the server does: every name in the one is in the other."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from server.app import build
from server.config import Config
from server.engine import Health
from server.engine.process import ProcessEngine
from server.errors import CODES
from server.gpu import FIGURES
from server.live.requests import AUDIO_FIELDS, START_FIELDS
from server.metrics import Metrics
from stream.codec import ENCODINGS
from stream.types import LABELS, LABELS_ZH

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")


def test_the_labels_are_the_contracts_in_its_order() -> None:
    assert f"`{', '.join(LABELS)}`" in PAGE
    assert " ".join(LABELS_ZH) in PAGE


def test_every_error_code_is_explained_and_no_other() -> None:
    table = PAGE[PAGE.index("### Error codes") : PAGE.index("## HTTP")]
    assert set(re.findall(r"^\| `([A-Z_]+)` \|", table, re.M)) == set(CODES)


def test_every_field_a_client_may_send_is_documented() -> None:
    for event, fields in (("start", START_FIELDS), ("audio_stream", AUDIO_FIELDS)):
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{event}`"))
        for name in fields:
            assert f"`{name}" in row, (event, name)
    for encoding in ENCODINGS:
        assert f"`{encoding}`" in PAGE


def test_every_metric_is_documented_and_every_documented_metric_exists() -> None:
    metrics = Metrics()
    metrics.watch_engine(lambda: Health(True, 0, 0), lambda: None)
    metrics.watch_redis(lambda: True, lambda: 2)
    served = set(re.findall(r"^# TYPE (emotion_\w+) ", metrics.render().decode(), re.M))
    told = set(re.findall(r"`(emotion_\w+)(?:\{[^`]*\})?`", PAGE[PAGE.index("## Prometheus metrics") :]))
    assert served | set(FIGURES) == told


def test_every_documented_route_exists() -> None:
    table = PAGE[PAGE.index("## HTTP") : PAGE.index("## result.json")]
    config = Config()
    engine = ProcessEngine(config.engine_settings, "INFO", "text")
    rules = build(config, engine).flask.url_map.iter_rules()
    served = {(method, re.sub("<[^>]*>", "<>", rule.rule)) for rule in rules for method in rule.methods or ()}
    told = re.findall(r"`(GET|POST|DELETE) (/[^`]*)`", table)
    assert told
    for method, path in told:
        assert (method, re.sub("<[^>]*>", "<>", path)) in served, path


def test_config_yaml_holds_every_setting_with_its_default() -> None:
    written = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    assert written == Config().model_dump(mode="json")
