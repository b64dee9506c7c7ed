"""The texts that people read, found in the source, each as a pattern with {} for what is put in.

A text may be a literal, an f-string, a choice between two, or a name that was given one of these in the same
function. What another exception says (`str(wrong)`) is found where that one is raised.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

# What tells people something → which of its arguments is the text.
TELLERS = {
    **dict.fromkeys(("ClientError", "Failed", "EmotionError", "_refusal"), 1),
    **dict.fromkeys(("UnsupportedEncoding", "BadAudio", "UnsupportedWav", "BadWav"), 0),
    **dict.fromkeys(("_broken", "broken", "_no_room", "give_up", "ClusterError"), 0),
}
# The same of programs on a terminal: of settings, of what these name, and of folders of results.
OF_A_TERMINAL = {
    **dict.fromkeys(("ValueError", "ConfigError", "BadCustomLabels", "BadExamples"), 0),
    **dict.fromkeys(("NotADirectoryError", "FileExistsError", "Missing", "_wrong"), 0),
    **dict.fromkeys(("BadResult", "BadEmbedding", "say", "tell"), 0),
}
IN_A_TERMINAL = (
    *("server/config", "server/access/hosts.py", "server/files/samples.py", "server/custom_labels.py"),
    *("stream/custom_labels.py", "cli/tools.py", "cli/keys.py", "server/access/key_file.py"),
    *(
        f"tools/{name}"
        for name in ("board", "cluster", "embedding", "few_shot", "folder", "labels", "pictures", "similar")
    ),
    *("tools/teach.py", "tools/vectors.py"),
)
# Functions that make texts and give them away: steps, notes, what is wrong with an address or with the engine.
MAKERS = {"steps", "_fill", "no_embedding", "not_ready", "http_error", "_nearest", "_recognized", "advice"}
MAKERS_OF_A_TERMINAL = {"refusal", "exposed", "conflict", "warning", "missing", "summary"}
ROOMS = ("server", "stream", "emotion_stream", "cli", "tools")
_SENTENCE = re.compile(r"[a-z]{2,},? [a-z]{2,}")


def _sources() -> list[Path]:
    """Not the models: what is wrong with weights is for whoever brings them."""
    paths = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
    return [path for path in paths if "models" not in path.parts and path.name != "chinese.py"]


def literals() -> set[str]:
    """Every string of the code, and every pattern of an f-string."""
    nodes = (node for path in _sources() for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    kinds = ast.Constant | ast.JoinedStr
    return {pattern for node in nodes if isinstance(node, kinds) for pattern in _patterns(node, node)}


def texts() -> dict[str, str]:
    """Pattern → where it stands."""
    found: dict[str, str] = {}
    for path in _sources():
        for pattern, line in _in_file(path):
            found.setdefault(pattern, f"{path.relative_to(ROOT)}:{line}")
    return found


def sentences() -> dict[str, str]:
    """Those of `texts` that hold words of a sentence."""
    return {pattern: where for pattern, where in texts().items() if _SENTENCE.search(pattern)}


def _in_file(path: Path) -> Iterator[tuple[str, int]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    terminal = str(path.relative_to(ROOT)).startswith(IN_A_TERMINAL)
    tellers = TELLERS | (OF_A_TERMINAL if terminal else {})
    makers = MAKERS | (MAKERS_OF_A_TERMINAL if terminal else set())
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        for node in _told(function, tellers, makers):
            yield from ((pattern, node.lineno) for pattern in _patterns(node, function))


def _told(function: ast.FunctionDef, tellers: dict[str, int], makers: set[str]) -> Iterator[ast.expr]:
    """What is told of it: by tellers that it calls; of a maker, all that it gives or keeps."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            at = tellers.get(name, len(node.args))
            yield from node.args[at : at + 1]
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "self._error":
            yield node.value  # of the engine: why it is not ready
        elif function.name in makers and isinstance(node, ast.Return | ast.Yield | ast.Assign) and node.value:
            yield from node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
        elif function.name in makers and isinstance(node, ast.Dict):
            yield from node.values


def _patterns(node: ast.expr, within: ast.AST, seen: frozenset[str] = frozenset()) -> Iterator[str]:
    """`seen`: names that are being looked into."""
    inner: list[ast.expr] = []
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        inner = [part.value for part in node.values if isinstance(part, ast.FormattedValue)]
    elif isinstance(node, ast.IfExp):
        inner = [node.body, node.orelse]
    elif isinstance(node, ast.BoolOp):
        inner = node.values
    elif isinstance(node, ast.Name) and node.id not in seen:
        seen |= {node.id}
        given = (each for each in ast.walk(within) if isinstance(each, ast.Assign))
        inner = [each.value for each in given if ast.unparse(each.targets[0]) == node.id]
    for each in inner:
        yield from _patterns(each, within, seen)
