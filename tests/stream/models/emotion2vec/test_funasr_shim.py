"""funasr's class is imported without the rest of funasr, and the rest can still be imported after it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.stream.models.emotion2vec.conftest import need_funasr

ROOT = Path(__file__).parents[4]


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_all_of_funasr_can_be_imported_afterwards() -> None:
    need_funasr()
    done = python(
        "from stream.models.emotion2vec.funasr_shim import import_class; one = import_class();"
        "from funasr import AutoModel; from funasr.models.emotion2vec.model import Emotion2vec;"
        "from funasr.register import tables; import sys;"
        "sys.exit(not (one is Emotion2vec is tables.model_classes['Emotion2vec'] is import_class()))"
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_without_funasr_it_says_what_to_install() -> None:
    done = python(
        "import sys; sys.meta_path.insert(0, type('No', (), {'find_spec': staticmethod("
        "lambda name, *_: (_ for _ in ()).throw(ModuleNotFoundError(name)) if name == 'funasr' else None)})());"
        "from stream.models.emotion2vec import load; load('emotion2vec_plus_base')"
    )
    assert done.returncode != 0
    assert "emotion2vec needs torch and funasr, not both installed" in done.stderr
    assert "./run.sh install emotion2vec" in done.stderr
