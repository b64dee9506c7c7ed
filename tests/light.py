"""An environment as `./run.sh` makes it at its first start: nothing but what requirements-light.txt brings.

The tests' own has torch and much more. Here a `sitecustomize` hides from every process whatever comes with no
distribution of the light set, as if it were not installed.
"""

from __future__ import annotations

import os
import re
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent

_HIDING = """
import os, re, sys
from importlib.machinery import PathFinder
from pathlib import Path

LIGHT, HIDDEN = {light!r}, {hidden!r}

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else super().find_spec(name, path, target)

    @classmethod
    def find_distributions(cls, *asked):  # libraries look there for what is installed
        for found in super().find_distributions(*asked):
            if re.sub("[-_.]+", "-", found.name).lower() in LIGHT:
                yield found

sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
Path({seen!r}, str(os.getpid())).touch()
"""


def listed(name: str) -> list[Requirement]:
    """What a file of requirements lists, and the files that it names by -r."""
    wanted: list[Requirement] = []
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        text = re.sub(r"(^|\s+)#.*", "", line)
        if text.startswith("-r "):
            wanted += listed(text.removeprefix("-r ").strip())
        elif text.startswith("-e ./client/python"):
            wanted += [Requirement("aiohttp"), Requirement("python-socketio[client]")]
        elif text:
            wanted.append(Requirement(text))
    return wanted


def brought_by(wanted: list[Requirement]) -> set[str]:
    """The distributions that installing `wanted` brings, by their canonical names."""
    found: set[tuple[str, str]] = set()
    while wanted:
        one = wanted.pop()
        for extra in ("", *one.extras):
            key = (canonicalize_name(one.name), extra)
            if key in found:
                continue
            found.add(key)
            try:
                needs = [Requirement(text) for text in requires(one.name) or []]
            except PackageNotFoundError:  # of another platform
                continue
            wanted += [r for r in needs if not r.marker or r.marker.evaluate({"extra": extra})]
    return {name for name, _ in found}


def light_environment(folder: Path) -> dict[str, str]:
    """For processes that are to see the light set alone; each leaves its number in `folder`/seen."""
    light = brought_by(listed("requirements-light.txt"))
    hidden = {
        module
        for module, distributions in packages_distributions().items()
        if not {canonicalize_name(name) for name in distributions} & light and not _is_ours(module)
    }
    seen = folder / "seen"
    seen.mkdir()
    (folder / "sitecustomize.py").write_text(
        _HIDING.format(light=light, hidden=hidden, seen=str(seen)), encoding="utf-8"
    )
    paths = [str(folder), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONNOUSERSITE": "1"}


def _is_ours(module: str) -> bool:
    return module in sys.stdlib_module_names or module in ("emotion_stream_client", "emotion_stream")
