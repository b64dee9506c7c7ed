"""The interface against its own description: every route is in it, and what it promises is what is answered."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import numpy as np
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS
from werkzeug.formparser import parse_form_data

from server.config import Config
from server.engine import EngineSettings
from server.engine.inprocess import InProcessEngine
from server.errors import CODES
from server.http.openapi import document
from stream.models.fake import FakeModel
from stream.types import LABELS
from tests.conftest import Server
from tests.server.conftest import no_traceback, running
from tests.server.recordings import hostile, made, wav

EXAMPLES = 120
SPEECH = np.sin(np.arange(16_000) / 30).astype(np.float32)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("outputs")
    with running(model__name="fake", files__outputs=folder, files__max_upload_mb=2) as server:
        yield server
        no_traceback(server.log())


def schema_of(name: str) -> Any:
    return jsonschema_rs.validator_for({**document(), "$ref": f"#/components/schemas/{name}"})


def test_every_route_of_the_interface_is_described_and_every_described_one_exists() -> None:
    from server.app import build

    engine = InProcessEngine(FakeModel(), EngineSettings())
    rules = build(Config(server={"async_mode": "threading"}), engine).flask.url_map.iter_rules()
    engine.close()
    pages = {"/", "/upload", "/result", "/desk", "/sessions", "/client/<name>.js", "/static/<path:filename>"}
    pages |= {
        "/v1/stream",
        "/v1/twilio",
        "/v1/telnyx",
        "/v1/freeswitch",
        "/v1/genesys",
        "/v1/asterisk",
    }  # WebSockets: described in /asyncapi.json, and by others
    there = {
        (re.sub("<[^>]*>", "<>", rule.rule), method)
        for rule in rules
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule not in pages or method == "POST"
    }
    told = {
        (re.sub("{[^}]*}", "<>", path), method.upper())
        for path, methods in document()["paths"].items()
        for method in methods
    }
    assert told == there


def test_it_is_served_as_it_is_with_the_names_that_the_code_knows(api: Server) -> None:
    served = json.loads(api.get("/openapi.json")[1])
    assert served == json.loads(json.dumps(document()))
    schemas = served["components"]["schemas"]
    assert schemas["Label"]["enum"] == list(LABELS)
    assert set(schemas["Error"]["properties"]["error"]["properties"]["code"]["enum"]) == set(CODES)
    jsonschema_rs.meta.validate(
        {"$schema": "https://json-schema.org/draft/2020-12/schema", **schemas["Recognition"]}
    )


def test_answers_are_what_is_described(api: Server, demo_pcm: bytes) -> None:
    recognition, result, error = schema_of("Recognition"), schema_of("Result"), schema_of("Error")
    for data in (wav(demo_pcm), wav(bytes(64_000))):
        for fields in ({}, {"granularity": "frame"}, {"extract_embedding": "true"}):
            answer = requests.post(
                api.url + "/api/v1/emotion/recognize",
                files={"audio_file": ("x", data)},
                data=fields,
                timeout=20,
            ).json()
            recognition.validate(answer)
            result.validate(requests.get(api.url + answer["files"]["result"], timeout=10).json())
    schema_of("Status").validate(json.loads(api.get("/api/v1/status")[1]))
    error.validate(json.loads(api.get("/api/v1/results/none/result.json")[1]))


def test_the_description_can_say_no(api: Server) -> None:
    """A schema that takes anything would prove nothing."""
    recognition = schema_of("Recognition")
    answer = requests.post(
        api.url + "/api/v1/emotion/recognize",
        files={"audio_file": ("x", wav(bytes(64_000)))},
        data={"granularity": "frame"},
        timeout=20,
    ).json()
    assert recognition.is_valid(answer)
    for name in ("id", "scores", "emotion", "frame_scores", "step_ms", "utterances", "model", "files"):
        assert not recognition.is_valid({k: v for k, v in answer.items() if k != name}), name
    for change in ({"emotion": "glad"}, {"confidence": 1.5}, {"scores": {"angry": 1}}, {"duration_s": "1"}):
        assert not recognition.is_valid({**answer, **change}), change


def recordings() -> st.SearchStrategy[bytes]:
    good = [
        wav((SPEECH * 20_000).astype("<i2").tobytes()),
        wav(bytes(100)),
        made("a.mp3", SPEECH),
        made("a.flac", SPEECH),
    ]
    return st.sampled_from(good)


def anything() -> st.SearchStrategy[bytes]:
    bad = [case.data for case in hostile(np.tile(SPEECH, 3))]
    return st.one_of(recordings(), st.binary(max_size=2000), st.sampled_from(bad))


def is_right(answer: Any) -> bool:
    """Whether the form that was sent has to be taken: what makes one wrong may get lost on the way into it."""
    sent = answer.request
    kind = sent.headers.get("Content-Type", "")
    if not kind.startswith("multipart/form-data") or not isinstance(sent.body, bytes):
        return False
    environ = {
        "wsgi.input": io.BytesIO(sent.body),
        "CONTENT_TYPE": kind,
        "CONTENT_LENGTH": str(len(sent.body)),
    }
    _, form, files = parse_form_data({"REQUEST_METHOD": "POST", **environ})
    known = {"granularity": {"utterance", "frame"}, "extract_embedding": {"true", "false"}}
    parts: list[tuple[str, list[Any]]] = [*form.lists(), *files.lists()]
    return (
        len(files.getlist("audio_file") + files.getlist("file")) == 1
        and all(len(values) == 1 and name in {"audio_file", "file", *known} for name, values in parts)
        and all(form[name] in known.get(name, ()) for name in form)
    )


@pytest.mark.slow
@pytest.mark.parametrize("uploads", [recordings, anything], ids=["recordings", "anything"])
def test_no_request_that_can_be_made_from_the_description_breaks_the_server(
    api: Server, uploads: Any
) -> None:
    """schemathesis makes requests, right ones and wrong ones, from the document that the server serves."""
    schemathesis.openapi.format("binary", uploads())
    described = schemathesis.openapi.from_url(api.url + "/openapi.json")
    # That what looks right is accepted can be asked for only where what is sent is a recording.
    excluded = [check for check in CHECKS.get_all() if check.__name__ == "positive_data_acceptance"]
    wrong = [check for check in CHECKS.get_all() if check.__name__ == "negative_data_rejection"]
    assert excluded and wrong
    seen: Counter[tuple[str, int]] = Counter()

    for found in described.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]  # an error has no `ok`, and fails the test
        strategy = st.one_of(
            operation.as_strategy(),
            operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE),
        )

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def test(case: Any) -> None:
            answer = case.call()
            not_asked = [] if uploads is recordings else excluded
            case.validate_response(answer, excluded_checks=not_asked + (wrong if is_right(answer) else []))
            seen[case.operation.path, answer.status_code] += 1

        given(case=strategy)(test)()
    posts = {status: n for (path, status), n in seen.items() if path.endswith("/recognize")}
    assert seen.total() > 300 and sum(n for status, n in posts.items() if status >= 400) > 20
    assert uploads is anything or posts[200] > 20, posts
    assert json.loads(api.get("/api/v1/status")[1])["ready"]
