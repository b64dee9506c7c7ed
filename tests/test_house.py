"""Who may import whom, and what nobody may do: read from the source, and tried in a fresh interpreter."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {"torch", "torchaudio", "funasr", "transformers", "onnxruntime"}


# From the ground up: a room imports only those before it. Every package of ours is here; of server/, every room.
FLOORS = (
    "stream",
    "emotion_stream_client",
    "server",
    *("server.system", "server.paths", "server.process_env", "server.peer", "server.rate_limit"),
    *("server.log_writer", "server.logs", "server.gpu", "server.spreadsheet", "server.storage"),
    *("server.tenants", "server.language", "server.errors", "server.observers", "server.wire"),
    "server.engine",
    "server.config",
    *("server.replica_metrics", "server.counts", "server.ready", "server.metrics"),
    *("server.custom_labels", "server.local_engine"),
    "server.access",
    "server.hub",
    "server.alerting",
    "server.decoding",
    "server.files",
    "server.live",
    "server.doors",
    "server.records",
    "server.desk",
    "server.http",
    "server.uploads",
    "server.cluster",
    "server.workers",
    *("server.app", "server.run"),
    *("tools", "evaluation", "training"),
    "cli",
    "emotion_stream",
    "bench",
)
PACKAGES = (
    "stream",
    "server",
    "tools",
    "evaluation",
    "cli",
    "emotion_stream",
    "training",
    "bench",
    "client/python",
)


@dataclass(frozen=True)
class Import:
    module: str  # `from a.b import c` counts as a.b, and as a.b.c where that is a module of ours
    inside: bool  # in a function, or for type checkers only: not run when the module is imported


def name_of(path: Path) -> str:
    parts = (
        path.relative_to(ROOT / "client" / "python" if "client" in path.parts else ROOT).with_suffix("").parts
    )
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def files(*packages: str) -> dict[str, Path]:
    """Modules by name, of stream and server if not told otherwise."""
    paths = [path for package in packages or ("stream", "server") for path in (ROOT / package).rglob("*.py")]
    return {name_of(path): path for path in sorted(paths)}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


@cache
def ours(*packages: str) -> dict[str, ast.Module]:
    return {name: parsed(path) for name, path in files(*packages).items()}


def for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def called(call: ast.Call) -> str:
    """The last name of what is called."""
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


@cache
def imports(name: str, tree: ast.Module) -> tuple[Import, ...]:
    """Imports of the module `name`, those by a literal name through importlib as well."""
    return tuple(imports_below(name, tree))


def imports_below(name: str, node: ast.AST, inside: bool = False) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, inside) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = child.module or ""
            if child.level:
                is_package = (ROOT / name.replace(".", "/") / "__init__.py").exists()
                kept = name.split(".")[: len(name.split(".")) - child.level + is_package]
                base = ".".join([*kept, *([child.module] if child.module else [])])
            yield Import(base, inside)
            for alias in child.names:
                if f"{base}.{alias.name}" in files(*PACKAGES):
                    yield Import(f"{base}.{alias.name}", inside)
        elif isinstance(child, ast.Call) and called(child) in ("import_module", "__import__"):
            yield from (Import(str(arg.value), inside) for arg in child.args if isinstance(arg, ast.Constant))
        deferred = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from imports_below(name, child, inside or deferred or for_type_checkers(child))


def top(module: str) -> str:
    return module.split(".")[0]


def under(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


@pytest.mark.parametrize("name", [name for name in files() if under(name, "stream")])
def test_stream_knows_nothing_of_the_shell(name: str) -> None:
    theirs = {
        "server",
        "bench",
        "training",
        "tests",
        "flask",
        "flask_socketio",
        "socketio",
        "zmq",
        "eventlet",
    }
    found = {i.module for i in imports(name, ours()[name]) if top(i.module) in theirs}
    assert not found


@pytest.mark.parametrize("name", [n for n in files() if under(n, "stream") and not under(n, "stream.models")])
def test_the_science_has_no_threads_no_clocks_and_no_sockets(name: str) -> None:
    found = {top(i.module) for i in imports(name, ours()[name])}
    assert not found & {"threading", "time", "socket", "asyncio", "multiprocessing", "logging", "subprocess"}


@pytest.mark.parametrize("name", [name for name in files() if under(name, "server.engine")])
def test_an_engine_knows_windows_batches_and_models_and_nothing_of_sessions(name: str) -> None:
    science = ("stream.types", "stream.batching", "stream.models", "stream.models.registry")
    allowed = ("server.engine", "server.logs", "server.system", "server.process_env", *science)
    for i in imports(name, ours()[name]):
        if top(i.module) in ("server", "stream"):
            assert i.module in ("server", *allowed) or under(i.module, "server.engine"), i.module
        assert top(i.module) not in ("flask", "flask_socketio", "socketio", "engineio", "eventlet")


def room_of(module: str) -> str:
    """The floor it is on: a package, or of server/ the room or the file."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "server" else parts[0]


@cache
def arrows() -> tuple[tuple[str, str], ...]:
    """Imports among modules of ours, those inside functions too, but for type checkers."""
    known = ours(*PACKAGES)
    return tuple(
        (name, i.module)
        for name, tree in known.items()
        for i in imports(name, tree)
        if i.module in known and not f"{name}.".startswith(f"{i.module}.")
    )


def test_nothing_imports_upwards_and_every_room_has_its_floor() -> None:
    assert len(set(FLOORS)) == len(FLOORS)
    assert {room_of(name) for name in ours(*PACKAGES)} == set(FLOORS)
    wrong = {f"{a} imports {b}" for a, b in arrows() if FLOORS.index(room_of(b)) > FLOORS.index(room_of(a))}
    assert not wrong


def test_no_module_imports_itself_by_way_of_others() -> None:
    after: dict[str, set[str]] = {}
    for a, b in arrows():
        after.setdefault(a, set()).add(b)
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " → ".join([*path[path.index(name) :], name])
        if name not in done:
            for following in after.get(name, ()):
                visit(following, (*path, name))
            done.add(name)

    for name in list(after):
        visit(name, ())


# Both sides of the wire, each in its package: the client's Lost is the server's, its Outbox the other end's.
MIRRORS = {
    *("Alert", "Connection", "CustomLabels", "Format", "Lost", "Outbox", "Utterance"),
    "Result",  # the client's event, and the SDK's answer
    "EmotionModel",  # what a model has to be, and what a program is given: people look for it by this name
    *("_Handler", "_WebSocket"),  # the two hubs, of eventlet and of threads, take each other's place
}


def test_a_class_has_a_name_of_its_own() -> None:
    """Aliases such as `Message = Ready | Fatal` are not looked at; tests have fakes of the same name."""
    modules: dict[str, list[str]] = {}
    for name, tree in ours(*PACKAGES).items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                modules.setdefault(node.name, []).append(name)
    twice = {name: where for name, where in modules.items() if len(where) > 1}
    assert set(twice) == MIRRORS, twice


def test_one_file_names_eventlet() -> None:
    users = {n for n, tree in ours().items() for i in imports(n, tree) if top(i.module) == "eventlet"}
    assert users == {"server.hub.green"}


def test_at_most_one_file_names_ray() -> None:
    assert len({n for n, tree in ours().items() for i in imports(n, tree) if top(i.module) == "ray"}) <= 1


def test_the_client_needs_nothing_but_its_two_libraries() -> None:
    """Not the server, and NumPy only where a function asks for it."""
    found = {i for name, tree in ours("client/python").items() for i in imports(name, tree)}
    others = {i for i in found if top(i.module) not in {*sys.stdlib_module_names, "emotion_stream_client"}}
    assert {top(i.module) for i in others} == {"aiohttp", "socketio", "numpy"}
    assert all(i.inside for i in others if top(i.module) == "numpy")


@pytest.mark.parametrize("name", list(files("tools")))
def test_the_toolbox_imports_heavy_libraries_only_when_they_are_needed(name: str) -> None:
    heavy = {"torch", "matplotlib", "sklearn", "umap", "scipy", "pyarrow"}
    assert not {
        i.module for i in imports(name, ours("tools")[name]) if not i.inside and top(i.module) in heavy
    }


def test_nobody_below_the_command_line_knows_it_or_the_toolbox() -> None:
    users = {n for n, tree in ours().items() for i in imports(n, tree) if top(i.module) in ("cli", "tools")}
    assert not users


@cache
def heavy_modules() -> set[str]:
    """Modules whose import brings torch or funasr, by themselves or through others of ours."""
    at_import = {n: {i.module for i in imports(n, tree) if not i.inside} for n, tree in ours().items()}
    heavy = {n for n, modules in at_import.items() if {top(m) for m in modules} & HEAVY}
    while more := {n for n, modules in at_import.items() if n not in heavy and modules & heavy}:
        heavy |= more
    return heavy


def test_torch_and_funasr_are_imported_by_loaders_only() -> None:
    heavy = heavy_modules()
    assert all(under(name, "stream.models") for name in heavy), heavy
    doors = {"stream.models", "stream.models.registry", "stream.models.compact", "stream.models.fake"}
    assert not heavy & doors
    assert "stream.models.compact.network" in heavy, "this test would see it"


def test_importing_any_other_module_brings_neither_torch_nor_eventlet() -> None:
    """In one fresh interpreter, for all modules at once; `server.run` among them."""
    light = sorted(
        name
        for name in files()
        if name not in heavy_modules()
        and name != "server.hub.green"
        and not name.endswith("__main__")
        and not under(name, "stream.models.emotion2vec")
    )
    code = f"""
import importlib, sys
for name in {light!r}:
    importlib.import_module(name)
    found = {{"torch", "funasr", "transformers", "onnxruntime", "eventlet"}} & set(sys.modules)
    assert not found, f"{{name}} imports {{found}}"
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {"server.app", "server.live.namespace", "server.engine.worker", "stream.offline"} <= set(light)


def test_the_model_process_of_the_fake_needs_neither_flask_nor_torch() -> None:
    code = """
import sys
import server.engine.worker, stream.models.fake
assert not {"flask", "flask_socketio", "socketio", "torch", "onnxruntime", "pydantic"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def dotted(node: ast.expr) -> str:
    """`np.load`, of a name or attributes of one; what is called some other way has no name."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def calls(tree: ast.AST) -> Iterator[tuple[str, dict[str | None, ast.expr], int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield dotted(node.func), {k.arg: k.value for k in node.keywords}, node.lineno


def says(value: ast.expr | None, word: str) -> bool:
    """Whether the expression is the constant `word`, or hides it (`Field(True)`)."""
    return value is not None and word in {ast.unparse(node) for node in ast.walk(value)}


def defaults(tree: ast.AST) -> Iterator[tuple[str, ast.expr | None, int]]:
    """Names of parameters and fields with their defaults."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign):
            yield dotted(node.target), node.value, node.lineno
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            last = [*node.args.posonlyargs, *node.args.args][::-1]
            positional = zip(last, node.args.defaults[::-1], strict=False)
            by_name = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            for arg, value in (*positional, *by_name):
                yield arg.arg, value, node.lineno


def dangers(tree: ast.AST) -> Iterator[str]:
    """Ways to run code that comes as data, beside those that ruff sees: pickle, eval, yaml.load, shells."""
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if {top(name) for name in names} & {"joblib", "cloudpickle"}:
            yield f"import of {names}"
    for name, value, line in defaults(tree):
        if name == "allow_pickle" and says(value, "True"):
            yield f"{line}: allow_pickle is on by default"
    for call, given, line in calls(tree):
        if call in ("compile", "yaml.unsafe_load", "yaml.full_load"):
            yield f"{line}: {call}"
        if call in ("np.load", "numpy.load") and not says(given.get("allow_pickle"), "False"):
            yield f"{line}: {call} without allow_pickle=False"
        if call == "torch.load" and ("weights_only" not in given or says(given["weights_only"], "False")):
            yield f"{line}: {call} without weights_only"


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_runs_code_that_came_as_data(package: str) -> None:
    found = {name: list(dangers(tree)) for name, tree in ours(package).items()}
    assert not {name: what for name, what in found.items() if what}


@pytest.mark.parametrize(
    "bad",
    [
        "import joblib\njoblib.load('x')",
        "from cloudpickle import loads",
        "compile('1', 'x', 'eval')",
        "yaml.unsafe_load(text)",
        "np.load('x')",
        "np.load('x', allow_pickle=True)",
        "torch.load('x')",
        "torch.load('x', weights_only=False)",
        "def read(path, allow_pickle=True): ...",
        "class Options:\n    allow_pickle: bool = True",
    ],
)
def test_this_test_can_fail(bad: str) -> None:
    assert list(dangers(ast.parse(bad)))


@pytest.mark.parametrize(
    "good",
    [
        "yaml.safe_load(text)",
        "np.load('x', allow_pickle=False)",
        "torch.load('x', weights_only=not allow_pickle)",
        "net.eval()",
        "def read(path, allow_pickle=False): ...",
        "class Options:\n    allow_pickle: bool = False",
    ],
)
def test_this_test_can_pass(good: str) -> None:
    assert not list(dangers(ast.parse(good)))
