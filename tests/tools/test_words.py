"""English and Chinese: the same texts in both, the terminal's by default, in pictures with a font for them."""

from __future__ import annotations

import re
import warnings
from datetime import UTC
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.tools import app
from stream.types import LABELS, LABELS_ZH
from tests.e2e.browser import same_in_both
from tests.tools.conftest import Make
from tools import cluster, folder, pictures, report, trend, words
from tools.vectors import vectors


def test_both_languages_have_all_texts() -> None:
    same_in_both({"en": words.EN, "zh": words.ZH})


def test_the_language_is_the_one_asked_for_the_settings_or_the_terminals(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = make(2)
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)

    def heading(*asked: str) -> str:
        out = tmp_path / "report.html"
        done = CliRunner().invoke(app, ["report", str(top), "--out", str(out), *asked])
        assert done.exit_code == 0, done.output
        return out.read_text(encoding="utf-8").partition("<h2>")[2].partition("</h2>")[0]

    assert heading() == "Emotions"
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    assert heading() == "情绪分布" and heading("--language", "en") == "Emotions"
    monkeypatch.setenv("LANG", "C")
    monkeypatch.setenv("EMOTION_SERVER__LANGUAGE", "zh")
    monkeypatch.setenv("EMOTION_SERVER__LABELS_ZH", "common")
    try:
        assert heading() == "情绪分布" and "愤怒 angry" in (tmp_path / "report.html").read_text(
            encoding="utf-8"
        )
    finally:
        words.name_in_chinese(LABELS_ZH)


def test_what_could_not_be_read_and_what_was_done_is_told_in_the_terminals_language(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = make(2)
    for name, content in (("outputs_a", "{}"), ("outputs_b", "no JSON")):
        (top / name).mkdir()
        (top / name / "result.json").write_text(content)
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    out = tmp_path / "report.html"
    done = CliRunner().invoke(app, ["report", str(top), "--out", str(out)])
    assert done.exit_code == 1
    told = done.output.splitlines()
    assert told[0] == f"2 个结果。已写入：{out}" and told[1] == "有 2 个无法读取："
    assert told[2:] == ["  outputs_a: 'model' 中没有文本", told[3]] and "result.json：不是 JSON：" in told[3]
    page = out.read_text(encoding="utf-8")
    assert "中没有文本" in page and "result.json：不是 JSON：" in page


def test_a_chinese_report_is_chinese_to_its_last_heading(make: Make) -> None:
    top = make(60)
    page = report.page(folder.read(top), "day", UTC, language="zh")
    assert '<html lang="zh-CN">' in page and "每天各情绪的录音占比" in page and "中立 neutral" in page
    texts = re.sub(r"<style.*?</style>|<[^>]+>|&\w+;", " ", page, flags=re.S)
    latin = {word.lower() for word in re.findall(r"[A-Za-z]{3,}", texts)}
    assert latin <= {"results", "emotion", "stream", "compact", "outputs", "utc", *LABELS}, latin


def test_chinese_pictures_have_no_empty_boxes(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    if pictures.chinese_font() is None:
        pytest.skip("no Chinese font: apt-get install fonts-noto-cjk")
    top = make(60)
    held = vectors(top)
    found = trend.trend(folder.read(top).records, "day", UTC, language="zh")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of glyphs that a font has not
        assert pictures.png(trend.draw(found), "zh")[:4] == b"\x89PNG"
        assert (
            pictures.png(cluster.draw(cluster.cluster(held.rows, "pca"), held, "zh"), "zh")[:4] == b"\x89PNG"
        )
    monkeypatch.setattr(pictures, "chinese_font", lambda: None)
    assert "每天各情绪" in pictures.svg(trend.draw(found), "t", "zh"), "the reader's browser has a font"


@pytest.mark.parametrize(
    ("locale", "words"), [("zh_CN.UTF-8", "没有这个文件夹"), ("C", "there is no such folder")]
)
def test_what_a_tool_cannot_do_it_says_in_the_terminals_language(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locale: str, words: str
) -> None:
    monkeypatch.setenv("LC_ALL", locale)
    for command in ("trend", "cluster", "board", "report"):
        done = CliRunner().invoke(app, [command, str(tmp_path / "nowhere")])
        assert done.exit_code == 2 and words in done.output, done.output
