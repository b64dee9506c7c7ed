"""What the repository says of itself holds together: one version, links that lead somewhere, two languages."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import emotion_stream_client
import pytest
import yaml

import server
from server.errors import CODES

ROOT = Path(__file__).resolve().parent.parent
HIDDEN = {"node_modules", ".venv", ".git", "outputs", "vendor"}


def pages() -> Iterator[Path]:
    """Every page of the repository; what is not ours is not looked through."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = set(folders) - HIDDEN
        yield from (Path(folder) / name for name in files if name.endswith(".md"))


PAGES = sorted(pages())


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def tracked(*patterns: str) -> list[str]:
    """Names of files, of those patterns; skips the test where git knows none."""
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True).stdout.decode()
    return listed.split() or pytest.skip("not a git checkout")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.S)


def test_there_is_one_version() -> None:
    version = server.__version__
    assert emotion_stream_client.__version__ == version
    project, client = (tomllib.loads(text(f"{where}pyproject.toml")) for where in ("", "client/python/"))
    for one in (project, client):
        assert "version" in one["project"]["dynamic"] and "version" not in one["project"]
    assert project["tool"]["hatch"]["version"] == {"path": "server/__init__.py"}
    source = {"attr": "emotion_stream_client.__version__"}
    assert client["tool"]["setuptools"]["dynamic"]["version"] == source
    newest = re.search(r"^## (\S+) \(\d{4}-\d\d-\d\d\)$", text("CHANGELOG.md"), re.M)
    assert newest is not None and newest[1] == version
    package = json.loads(text("package.json")) if (ROOT / "package.json").exists() else {}
    assert package.get("version", version) == version
    assert f"| {version.rpartition('.')[0]} | yes |" in text("SECURITY.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_that_are_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path = target.partition("#")[0]
        if path and not re.match(r"\w+:", path):
            assert (page.parent / path).exists(), target


def test_every_decision_is_in_the_index_by_its_title() -> None:
    index = text("docs/decisions/README.md")
    for page in sorted((ROOT / "docs" / "decisions").glob("0*.md")):
        title = page.read_text(encoding="utf-8").partition("\n")[0].partition(". ")[2]
        assert f"| {page.name[:4]} | [{title}]({page.name}) |" in index


def test_the_readme_says_the_same_in_both_languages() -> None:
    """Commands, code but for its comments, links, pictures and headings."""
    english, chinese = text("README.md"), text("README.zh-CN.md")

    def code(page: str, language: str) -> list[str]:
        lines = [
            line.split("#")[0].rstrip() for block in blocks(page, language) for line in block.splitlines()
        ]
        return [line for line in lines if line]

    for language in ("sh", "text", "python"):
        assert code(english, language) == code(chinese, language) != []
    links = [re.findall(r"\]\(([^)]+)\)", page.replace(".zh.md)", ".md)")) for page in (english, chinese)]
    links = [sorted(set(found) - {"README.md", "README.zh-CN.md"}) for found in links]
    assert links[0] == links[1]
    assert english.count("\n## ") == chinese.count("\n## ")
    rooms = [re.findall(r"^\| (`.+?) \|", page, re.M) for page in (english, chinese)]
    assert rooms[0] == rooms[1] != []
    for row in rooms[0]:
        first, *others = re.findall(r"`(.+?)/`", row)
        beside = [str(Path(first).parent / other) for other in others]
        assert all((ROOT / room).is_dir() for room in (first, *beside)), row
    assert "README.zh-CN.md" in english.partition("\n")[0] and "README.md" in chinese.partition("\n")[0]


TRANSLATED = sorted((ROOT / "docs").rglob("*.zh.md"))
# What is the same in every language: codes, settings, fields, metrics and events, and how a setting is given.
CODE = "|".join(sorted(CODES, reverse=True))
NAME = re.compile(rf"\b(?:{CODE})\b|\b[a-z]+(?:[_.][a-z0-9]+)+\b|--[a-z-]+", re.ASCII)


def tables(page: str) -> list[tuple[int, set[str]]]:
    """Of each row, how many cells it has and which names."""
    rows = [line.replace("\\\\|", "") for line in page.splitlines() if line.startswith("|")]
    return [(row.count("|"), set(NAME.findall(row.replace(".zh.md", ".md")))) for row in rows]


@pytest.mark.parametrize("path", TRANSLATED, ids=lambda path: path.name)
def test_a_page_says_the_same_in_chinese(path: Path) -> None:
    """Headings, code, tables row by row, lists, and the names of everything in each section."""
    here = path.name.replace(".zh.md", ".md")
    english, chinese = (text(str(path.with_name(name).relative_to(ROOT))) for name in (here, path.name))
    assert f"[中文]({path.name})" in english.partition("\n")[0]
    assert f"[English]({here})" in chinese.partition("\n")[0]
    parts = [re.split(r"```\w*\n.*?```", page, flags=re.S) for page in (english, chinese)]
    code = [re.findall(r"```\w*\n.*?```", page, re.S) for page in (english, chinese)]
    if here != "sdk.md":  # its comments are translated
        assert code[0] == code[1]
    assert len(code[0]) == len(code[1])
    prose = ["".join(part) for part in parts]
    assert re.findall(r"^#+", prose[0], re.M) == re.findall(r"^#+", prose[1], re.M)
    for one, other in zip(tables(prose[0]), tables(prose[1]), strict=True):
        assert one == other
    for one, other in zip(*(re.split(r"^#+ .*", page, flags=re.M) for page in prose), strict=True):
        assert one.count("\n- ") == other.count("\n- ")
        assert set(NAME.findall(one)) == set(
            NAME.findall(other.replace(".zh.md", ".md").replace("zh-CN.md", "md"))
        )


def test_the_license_of_the_weights_is_on_the_first_screen() -> None:
    for name, words in (("README.md", "non-commercial"), ("README.zh-CN.md", "非商业")):
        screen = "\n".join(text(name).splitlines()[:12])
        assert words in screen and "Apache-2.0" in screen and "(NOTICE)" in screen and "(LICENSE)" in screen
    assert text("LICENSE") == text("client/python/LICENSE")
    assert "Apache License" in text("LICENSE") and "END OF TERMS AND CONDITIONS" in text("LICENSE")
    notice = text("NOTICE")
    vendored = re.findall(r"^\| ([\w. ]+) \| ([\d.]+) \|", text("static/vendor/README.md"), re.M)
    assert len(vendored) >= 2
    assert all(f"{library} {version}" in notice for library, version in vendored)
    assert "CC BY-NC-SA 4.0" in notice and "Copyright (c) 2022 OpenAI" in notice


def test_the_glossary_has_a_chinese_word_for_every_term() -> None:
    rows = re.findall(r"^\| ([^|]+) \| ([^|]*) \| ([^|]+) \|$", text("docs/glossary.md"), re.M)
    terms = [row for row in rows if row[0] not in ("term", "---")]
    assert len(terms) > 40
    assert all(re.search(r"[\u4e00-\u9fff]", chinese) for _, chinese, _ in terms)


def test_the_hosted_workflow_runs_what_contributors_run() -> None:
    jobs = yaml.safe_load(text(".github/workflows/ci.yml"))["jobs"]
    oldest = re.search(r">=3\.(\d+)", tomllib.loads(text("pyproject.toml"))["project"]["requires-python"])
    assert oldest is not None
    pythons = jobs["fast"]["strategy"]["matrix"]["python"]
    assert len(pythons) == 3 and pythons[0] == f"3.{oldest[1]}"
    runs = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert "./run.sh check" in runs and "./run.sh test" in runs
    assert all(run.split()[0] == "./run.sh" for run in runs)


def test_nothing_outside_the_repository_is_a_default() -> None:
    for name in tracked("*.py", "*.md", "*.sh", "*.yaml"):
        if name != "tests/test_papers.py":
            assert not re.search(r"shared/data|\"shared\" / \"data\"", text(name)), name


# British forms, found anywhere in a word. Names that others gave are not ours to spell; neither is a metric's that
# dashboards already ask for, nor what docs and clients call by its old name for one version more.
BRITISH = re.compile(
    "recognis|behaviour|colour|neighbour|normalis|initialis|serialis|utilis|favour|labelled|catalogue|centre|centring"
    "|organis|optimis|analys(?:e[dr]?|ing)\\b|summaris|minimis|maximis|standardis|quantis|synchronis|generalis|visualis"
    "|licence|learnt|judgement|fulfil\\b|artefact|whilst|honour|modelled|signalled|travell|defence",
    re.IGNORECASE,
)
ALWAYS = re.compile("aria-labelledby|emotion_gpu_utilisation_ratio")
OLD_NAMES = re.compile(r"(?<![a-zA-Z])(recognise|centre)(?![a-z])")
IN = (
    "CHANGELOG.md",
    "cli/tools.py",
    "server/language/chinese.py",
    "client/",
    "docs/client-",
    "tests/client/test_",
    "tests/types/",
)


def test_spelling_is_american() -> None:
    found = []
    for name in tracked():
        if "vendor" in name or name in ("tests/test_papers.py", "package-lock.json"):
            continue
        try:
            lines = text(name).splitlines()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(lines, 1):
            ours = ALWAYS.sub("", OLD_NAMES.sub("", line) if name.startswith(IN) else line)
            found += [f"{name}:{number}: {word}" for word in BRITISH.findall(ours)]
    assert not found
