"""Where the weights are: a folder on disk, or a name to fetch from the hub that the operator chose.

Fetched are the files that are needed and no others; the hubs' own clients show the progress and keep the copy
where they keep all of theirs. A cached copy is used without network access.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

Hub = Literal["modelscope", "huggingface"]

NAMES = ("emotion2vec_plus_large", "emotion2vec_plus_base", "emotion2vec_plus_seed")
OWNERS: dict[Hub, str] = {"modelscope": "iic", "huggingface": "emotion2vec"}
NEEDED = ("config.yaml", "model.pt", "tokens.txt")
WANTED = [*NEEDED, "README.md", "example/*"]
LICENSE = (
    "FunASR model license (https://github.com/modelscope/FunASR, MODEL_LICENSE), as the hubs' pages of it"
    " say; this folder itself says nothing"
)
COMMANDS: dict[Hub, str] = {
    "modelscope": "pip install modelscope && modelscope download --model {repo} --local_dir {name}",
    "huggingface": "pip install huggingface_hub && hf download {repo} --local-dir {name}",
}

log = logging.getLogger("model")


class NotAModel(ValueError):
    """The folder lacks files, or the name is none; the text says which."""


class HubUnreachable(OSError):
    """The weights are not here and could not be fetched; the text holds the commands that fetch them elsewhere."""


def resolve(name: str, hub: Hub = "modelscope") -> Path:
    """The folder of `name`: a folder's path, or one of NAMES, fetched if need be.

    Raises NotAModel, HubUnreachable.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        missing = [file for file in NEEDED if not (folder / file).is_file()]
        if missing:
            raise NotAModel(f"{folder} is no emotion2vec folder: it lacks {', '.join(missing)}")
        return folder
    if name not in NAMES:
        raise NotAModel(f"{name!r} is neither a folder nor one of {', '.join(NAMES)}")
    repo = f"{OWNERS[hub]}/{name}"
    fetch = _from_modelscope if hub == "modelscope" else _from_huggingface
    try:
        return _complete(fetch(repo, True))
    except Exception as absent:  # each hub's client has its own way to say that nothing is there
        log.debug("%s is not in %s's cache: %s", repo, hub, absent)
    log.warning("fetching %s from %s; %s", repo, hub, "its license: " + LICENSE)
    try:
        return _complete(fetch(repo, False))
    except Exception as broken:
        raise HubUnreachable(explain(name, hub, broken)) from broken


def explain(name: str, hub: Hub, broken: Exception) -> str:
    """What to tell an operator whose machine cannot reach the hub."""
    reason = next(iter(str(broken).splitlines()), "") or type(broken).__name__
    lines = [
        f"{name} is not on this machine, and {hub} could not be reached ({type(broken).__name__}: {reason[:200]})."
    ]
    lines.append("On a machine that reaches a hub, one of these makes the folder:")
    lines += [f"    {COMMANDS[h].format(repo=f'{OWNERS[h]}/{name}', name=name)}" for h in OWNERS]
    lines.append(
        f"Copy the folder here (needed are {', '.join(NEEDED)}) and name its path as the model instead of {name}."
    )
    return "\n".join(lines)


def license(folder: Path) -> str:
    """What the folder's own README says of its license; else what the hubs' pages say."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return LICENSE
    head = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    fields = re.findall(r"^license(?:_name|_link)?:[ \t]*(.+)$", head.group(1) if head else "", re.MULTILINE)
    return ", ".join(str(field).strip() for field in fields) or LICENSE


def _complete(folder: str) -> Path:
    missing = [file for file in NEEDED if not (Path(folder) / file).is_file()]
    if missing:
        raise FileNotFoundError(f"the copy is incomplete: {', '.join(missing)}")
    return Path(folder)


def _from_modelscope(repo: str, local: bool) -> str:
    from modelscope.hub.snapshot_download import snapshot_download

    fetch: Callable[..., str] = snapshot_download
    return fetch(repo, revision="master", allow_patterns=WANTED, local_files_only=local)


def _from_huggingface(repo: str, local: bool) -> str:
    from huggingface_hub import snapshot_download

    fetch: Callable[..., str] = snapshot_download
    return fetch(repo, allow_patterns=WANTED, local_files_only=local)
