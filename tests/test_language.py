"""Everything that people read is there in both languages, and reaches them in theirs."""

from __future__ import annotations

import re
import time

import pytest

from server.language import in_language, of_request, of_terminal, places
from server.language.chinese import CATALOG
from tests.messages import literals, sentences

PLACE = re.compile(r"\{\w*\}")
CHINESE = re.compile(r"[\u4e00-\u9fff\uff0c\uff1a]")


def bare(template: str) -> str:
    return PLACE.sub("{}", template)


def test_every_text_of_the_code_is_there_in_chinese() -> None:
    known = {bare(template) for template in CATALOG}
    found = sentences()
    assert len(found) > 100
    assert not {pattern: where for pattern, where in found.items() if pattern not in known}


def test_nothing_is_translated_that_nobody_says() -> None:
    said = literals()
    assert not [template for template in CATALOG if bare(template) not in said]


@pytest.mark.parametrize("template", CATALOG)
def test_a_text_is_found_again_with_what_was_put_in(template: str) -> None:
    """The same places in both languages, and no other text's pattern takes it first."""
    names = re.findall(r"\{(\w+)\}", template)
    assert sorted(names) == sorted(set(re.findall(r"\{(\w+)\}", CATALOG[template])))
    assert len(set(names)) == len(names) and CHINESE.search(CATALOG[template])
    filled = {name: f"'{name}-{7 * at}'" for at, name in enumerate(names)}
    assert places(template, template.format(**filled)) is not None
    assert in_language(template.format(**filled), "zh") == CATALOG[template].format(**filled)
    around = "the recording is damaged: "
    assert in_language(around + template.format(**filled), "zh") == "录音已损坏：" + CATALOG[template].format(
        **filled
    )
    assert in_language(template.format(**filled), "en") == template.format(**filled)


def test_what_is_put_in_is_translated_where_it_is_a_text_itself() -> None:
    assert in_language("the recording is damaged: it holds samples that are not finite numbers", "zh") == (
        "录音已损坏：其中的采样点不是有限数"
    )
    assert in_language("a text of nobody", "zh") == "a text of nobody"
    assert (
        in_language("more than {0} messages a second", "zh") == "每秒消息超过 {0} 条"
    )  # braces are no places
    long = "unknown field " + "a; known: " * 100_000
    assert in_language(long, "zh") == long


def test_a_text_that_was_made_for_it_costs_no_more_than_others() -> None:
    began = time.monotonic()
    for piece in (
        ", ",
        "; known: a, b Hz, c (",
        "; known: ",
        "a: b: ",
        "' here; did you mean '",
        " bytes in ",
    ):
        in_language((piece * 1000)[:1990], "zh")
        in_language("unknown field " + (piece * 1000)[:1900] + "; known: x", "zh")
    assert time.monotonic() - began < 2  # with patterns that try everything: a minute


@pytest.mark.parametrize(
    ("query", "accept", "default", "wanted"),
    [
        ("", "", "en", "en"),
        ("", "", "zh", "zh"),
        ("", "zh-CN,zh;q=0.9,en;q=0.8", "en", "zh"),
        ("", "en-US,en;q=0.9,zh;q=0.8", "zh", "en"),
        ("", "zh-Hant-TW", "en", "zh"),
        ("", "fr,de;q=0.9", "zh", "zh"),
        ("", "*", "zh", "zh"),
        ("", "fr, zh;q=0.5, en;q=0.2", "en", "zh"),
        ("", ";;,=q", "en", "en"),
        ("lang=zh", "en", "en", "zh"),
        ("a=1&lang=en", "zh", "zh", "en"),
        ("lang=fr", "zh", "en", "zh"),
    ],
)
def test_a_wish_comes_before_what_is_accepted_and_that_before_the_setting(
    query: str, accept: str, default: str, wanted: str
) -> None:
    environ = {"QUERY_STRING": query, **({"HTTP_ACCEPT_LANGUAGE": accept} if accept else {})}
    assert of_request(environ, default) == wanted  # type: ignore[arg-type]


def test_a_terminals_language_is_that_of_its_locale() -> None:
    assert of_terminal({"LANG": "zh_CN.UTF-8"}) == "zh"
    assert of_terminal({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}) == "en"
    assert of_terminal({}) == "en"
