"""The examples of docs/sdk.md, run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stream.types import SAMPLE_RATE
from tests.conftest import ROOT


@pytest.mark.slow
def test_the_page(tmp_path: Path, speech: np.ndarray) -> None:
    page = (ROOT / "docs" / "sdk.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len(examples) == 7
    soundfile.write(tmp_path / "speech.wav", speech, SAMPLE_RATE, subtype="PCM_16")
    # From another folder, and without the client's installation.
    code = f"import sys; sys.path.append({str(ROOT)!r})\n" + "\n".join(examples)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert "utterance: " in done.stdout and "(512,)" in done.stdout
    assert "UNSUPPORTED_MEDIA result.json: unsupported file format; send WAV, MP3" in done.stdout


def test_the_chinese_page_has_the_same_code() -> None:
    pages = [(ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("sdk.md", "sdk.zh.md")]
    code = [
        [
            line.split("  #")[0]
            for block in re.findall(r"```python\n(.*?)```", page, re.S)
            for line in block.splitlines()
        ]
        for page in pages
    ]
    assert code[0] == code[1] != []
    assert pages[0].count("\n## ") == pages[1].count("\n## ")
    links = [
        sorted({link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", page)}) for page in pages
    ]
    assert [link.replace(".zh-CN.md", ".md").replace(".zh.md", ".md") for link in links[0]] == [
        link.replace(".zh-CN.md", ".md").replace(".zh.md", ".md") for link in links[1]
    ]
