"""What every integration's package and pages hold to."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import server
from tests.conftest import ROOT


def examples(integration: Path) -> list[str]:
    """The code of its English page."""
    found = re.findall(r"```python\n(.*?)```", (integration / "README.md").read_text(encoding="utf-8"), re.S)
    assert found
    return found


def check_package(integration: Path, package: str) -> None:
    """The product's version and license; the same code, links and points in both languages."""
    project = tomllib.loads((integration / "pyproject.toml").read_text(encoding="utf-8"))
    where = f"{package.replace('.', '/')}/__init__.py"
    assert project["tool"]["hatch"]["version"] == {"path": where}
    source = (integration / where).read_text(encoding="utf-8")
    assert f'__version__ = "{server.__version__}"' in source
    minor = server.__version__.rpartition(".")[0]
    ours = [line for line in project["project"]["dependencies"] if line.startswith("emotion-stream")]
    assert ours and all(f">={minor},<" in line for line in ours)
    assert (integration / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    pages = [(integration / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md")]
    for pattern in (r"```\w*\n.*?```", r"\]\(([^)]+)\)"):
        english, chinese = (re.findall(pattern, page.replace(".zh-CN.md", ".md"), re.S) for page in pages)
        strip = [re.sub(r"\s*#.*", "", found.replace(".zh.md", ".md")) for found in chinese]
        assert [re.sub(r"\s*#.*", "", found) for found in english] == strip != []
    assert pages[0].count("\n- **") == pages[1].count("\n- **") > 0
    assert pages[0].count("\n## ") == pages[1].count("\n## ")
