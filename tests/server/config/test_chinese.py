"""Every way in which settings can be wrong, told in Chinese: pydantic's sentences and our own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import types
import typing
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from server import config as configuration
from server.config import Config, ConfigError
from server.language import in_language, places
from server.language.of_pydantic import PYDANTIC
from tests.conftest import ROOT

HAN = re.compile(r"[\u4e00-\u9fff]")
ENGLISH = re.compile(r"\b[a-z]{2,} [a-z]{2,}\b")
RULE = {"name": "a", "when": {"any_of": "sad", "above": 0.5}}
HOOK = {"name": "w", "url": "http://x"}
# What hardly any setting takes, and some do not: each sentence of pydantic's needs one that it is said of.
WRONG: list[Any] = [
    *(None, True, -1, 0, 0.5, 2**70, float("nan"), "", "x", "7.5", "a b" * 3000, "7" * 5000, b"\xff"),
    *([], {}, ["x"], [1], {"x": 1}),
    [{**RULE, "name": f"a{i}"} for i in range(101)],
    [{**HOOK, "name": f"w{i}"} for i in range(21)],
]


def held(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        if issubclass(annotation, BaseModel):
            yield annotation
        return
    for inner in typing.get_args(annotation):
        yield from held(inner)


def all_models(model: type[BaseModel]) -> set[type[BaseModel]]:
    inner = (found for field in model.model_fields.values() for found in held(field.annotation))
    return {model}.union(*map(all_models, inner))


@cache
def told() -> frozenset[str]:
    """What is said of each setting with each value that it does not take."""
    said = set()
    for model in all_models(Config):
        for name in model.model_fields:
            for value in WRONG:
                try:
                    model(**{name: value})
                except ValidationError as wrong:
                    said |= {
                        e["msg"]
                        for e in wrong.errors()
                        if e["type"] not in ("value_error", "extra_forbidden")
                    }
    return frozenset(said)


def test_all_that_pydantic_says_of_a_setting_is_said_in_chinese() -> None:
    assert len(told()) > 50
    for text in told():
        chinese = in_language(text, "zh")
        assert HAN.search(chinese) and not ENGLISH.search(chinese.split("'")[0]), (text, chinese)


@pytest.mark.parametrize("template", PYDANTIC)
def test_no_sentence_is_translated_that_pydantic_does_not_say(template: str) -> None:
    kept = {"{one} or {other}", "Input should be {choices}, did you mean {name}?"}
    assert template in kept or any(places(template, text) is not None for text in told())


@pytest.mark.parametrize(
    ("yaml", "chinese"),
    [
        ("server:\n  port: 70000\n", "a.yaml：第 2 行：server.port：应不大于 65535（给出的是 70000）"),
        ("server:\n  prot: 1\n", "a.yaml：第 2 行：server.prot：未知的设置，您要写的是 port 吗？"),
        ("policy: {watch: custommer}\n", "a.yaml：第 1 行：policy.watch：应为 'both', 'customer' 或 'agent'；"
         "您要写的是 customer 吗？（给出的是 'custommer'）"),
        ("stream: {ring_s: 10.5}\n",
         "a.yaml：设置：stream.ring_s 必须比 limits.max_ahead_s 大一秒，否则会丢失音频"),
        ("recording: {audio: true}\n", "a.yaml：第 1 行：recording：音频与会话记录一起保存：请同时设置 sessions"),
        ("alerts: {rules: [{name: a, when: {sum_of: sad}}]}\n",
         "a.yaml：第 1 行：alerts.rules.0.when：请给出 above 或 below 之一：从哪里开始要告知"),
        ("alerts: {rules: [{name: a, when: {ambiguous: any}, message: '{nam}'}]}\n",
         "a.yaml：第 1 行：alerts.rules.0.message：没有 {nam}；消息中可以用 {rule}, "),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_told_in_chinese(tmp_path: Path, yaml: str, chinese: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(yaml, encoding="utf-8")
    with pytest.raises(ConfigError) as wrong:
        configuration.load(path)
    assert in_language(str(wrong.value), "zh").startswith(chinese)


@pytest.mark.parametrize(("locale", "words"), [("zh_CN.UTF-8", "这些设置无法使用"), ("C", "cannot be used")])
@pytest.mark.parametrize("settings", ["server: {port: -1}\n", "server: {host: 0.0.0.0}\n"])
def test_who_starts_it_reads_it_in_the_terminals_language(
    tmp_path: Path, locale: str, words: str, settings: str
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(settings, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "cli", "serve", "--config", str(path)],
        cwd=ROOT,
        env={**os.environ, "LC_ALL": locale},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2 and words in done.stderr
    assert bool(HAN.search(done.stderr.splitlines()[1])) == locale.startswith("zh"), done.stderr
