"""What docs/api.md tells people to type is typed here, and what it says is answered is compared with an answer."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from server.errors import CODES
from tests.conftest import ROOT, Server
from tests.server.conftest import running

PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
HERE = "http://127.0.0.1:7860"
SHELL = re.findall(r"```sh\n(.*?)```", PAGE, re.S)
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.S)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("outputs")
    with running(files__outputs=folder, server__token="open") as server:
        yield server


def run(api: Server, command: list[str]) -> str:
    """With the right address, and the token that such a server asks for."""
    env = {**os.environ, "TOKEN": "open", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("text", SHELL, ids=range(len(SHELL)))
def test_commands_do_what_the_page_says(api: Server, text: str) -> None:
    text = text.replace(HERE, api.url)
    if "$TOKEN" not in text:
        text = text.replace("curl ", 'curl -H "Authorization: Bearer open" ')
    said = run(api, ["bash", "-euo", "pipefail", "-c", text])
    assert '"success":true' in said.replace(" ", ""), said
    assert "error" not in said


@pytest.mark.slow
@pytest.mark.parametrize("text", PYTHON, ids=range(len(PYTHON)))
def test_programs_do_what_the_page_says(api: Server, text: str) -> None:
    with_token = (
        "import requests, functools\n"
        "requests.post = functools.partial(requests.Session.post, s := requests.Session())\n"
        "s.headers['Authorization'] = 'Bearer open'\n"
    )
    said = run(api, [sys.executable, "-c", with_token + text.replace(HERE, api.url)])
    assert re.search(r"\b(angry|neutral|sad|happy)\b", said), said


@pytest.mark.slow
def test_the_answer_that_the_page_shows_has_the_fields_of_an_answer(api: Server, demo_wav: Path) -> None:
    shown = re.search(r"```json\n(.*?)```", PAGE, re.S)
    assert shown is not None
    top = set(re.findall(r'^  "(\w+)":|(?<=, )"(\w+)": (?=["\d\[{tfn])', shown.group(1), re.M))
    names = {name for pair in top for name in pair if name}
    with demo_wav.open("rb") as file:
        answer = requests.post(
            api.url + "/api/v1/emotion/recognize",
            files={"audio_file": file},
            data={"extract_embedding": "true"},
            headers={"Authorization": "Bearer open"},
            timeout=60,
        ).json()
    assert set(answer) <= names, set(answer) - names


def test_codes_and_statuses_are_those_of_the_server() -> None:
    table = PAGE[PAGE.index("## When it does not work") :]
    rows = re.findall(r"^\| (\d+) \| (`[^|]+`) \|", table, re.M)
    told = {code: int(status) for status, codes in rows for code in re.findall(r"`(\w+)`", codes)}
    assert len(told) > 10
    assert told == {code: CODES[code] for code in told}
