"""Keys: made, listed, rotated and revoked by the command line, while servers run that know them by their file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from server.access.guesses import ADDRESSES, BURST, Guesses
from server.access.key_file import KeyFile, now
from server.access.keys import Keys
from server.config import ConfigError
from server.errors import ClientError
from tests.conftest import ROOMY, ROOT, Server
from tests.server.access.test_auth import rest
from tests.server.clients import Client, eventually
from tests.server.conftest import no_traceback, running
from tests.server.live.test_admission import refusal

Connect = Callable[..., Client]


def spawn(run: Callable[[], None]) -> None:
    threading.Thread(target=run, daemon=True).start()


def cli(*args: str, file: Path) -> Any:
    """What a command prints as JSON."""
    environment = {**os.environ, "EMOTION_ACCESS__KEYS_FILE": str(file), "LANG": "C", "LC_ALL": "C"}
    command = [sys.executable, "-m", "cli", "keys", *args]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module", params=[1, pytest.param(2, marks=pytest.mark.slow)], ids=["one", "workers"])
def keyed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server, and its file of keys."""
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    settings = {"server__workers": request.param, "access__keys_file": str(file), **ROOMY}
    with running(model__name="fake", **settings) as server:
        yield server, file
        no_traceback(server.log())


def status(server: Server, key: str) -> int:
    return rest(server, {"Authorization": f"Bearer {key}"})[0]


def test_a_key_is_made_used_rotated_and_revoked_while_the_server_runs(keyed: Any, connect: Connect) -> None:
    server, file = keyed
    assert refusal(server)["data"]["code"] == "UNAUTHORIZED"
    made = cli("add", "crm", "--scope", "stream", "--tenant", "acme", "--json", file=file)
    assert made["tenant"] == "acme" and made["scopes"] == ["stream"] and made["state"] == "valid"
    eventually(lambda: status(server, made["key"]) == 200, "it is in effect")
    client = connect(server, auth={"token": made["key"]})
    assert client.start()["ok"]
    rotated = cli("rotate", made["id"], "--overlap", "1h", "--json", file=file)
    eventually(lambda: status(server, rotated["key"]) == 200, "the new secret is in effect")
    assert status(server, made["key"]) == 200, "the old one still is"
    again = cli("rotate", made["id"], "--json", file=file)
    eventually(lambda: status(server, again["key"]) == 200, "the third is in effect")
    eventually(lambda: status(server, made["key"]) != 200, "the first has ended")
    listed = cli("list", "--json", file=file)
    assert [key["id"] for key in listed] == [made["id"]] and "hash" not in listed[0]
    cli("revoke", made["id"], "--json", file=file)
    eventually(lambda: not client.connected, "its connection is closed")
    eventually(
        lambda: refusal(server, auth={"token": again["key"]})["data"]["code"] == "UNAUTHORIZED", "refused"
    )
    for key in (made, rotated, again):
        assert key["key"] not in server.log() and key["key"] not in file.read_text()


def test_a_key_opens_what_its_scopes_say_and_names_what_it_lacks(keyed: Any) -> None:
    server, file = keyed
    _, key = KeyFile(file).add("desk", ("monitor",))
    eventually(lambda: status(server, key) == 200, "it is in effect")
    told = refusal(server, auth={"token": key})["data"]
    assert told["code"] == "FORBIDDEN" and "stream" in told["message"] and not told["retryable"]


def test_keys_that_others_could_change_are_not_read(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    file.add("a", ("stream",))
    assert file.path.stat().st_mode & 0o777 == 0o600
    file.path.chmod(0o640)
    file.add("b", ("stream",))
    assert file.path.stat().st_mode & 0o777 == 0o640 and len(file.read()) == 2
    for mode in (0o644, 0o660, 0o602):
        file.path.chmod(mode)
        with pytest.raises(ConfigError, match="chmod 600"):
            file.read()


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"keys": [{"id": "x"}]}', '{"keys": [], "more": 1}', "\x00"]
)
def test_what_is_no_file_of_keys_is_refused_at_start(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="no file of keys"):
        Keys(path, spawn)


def test_a_server_says_at_once_that_its_keys_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text("{}")
    path.chmod(0o644)
    environment = {**os.environ, "EMOTION_ACCESS__KEYS_FILE": str(path), "EMOTION_SERVER__WORKERS": "2"}
    command = [sys.executable, "-m", "cli", "serve", "--port", "0"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "chmod 600" in done.stderr


def test_a_key_is_hashed_once_and_known_again(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    key, presented = file.add("a", ("stream",))
    hashed: list[None] = []

    def counting(run: Callable[[], None]) -> None:
        hashed.append(None)
        spawn(run)

    keys = Keys(file.path, counting)
    assert keys.known(presented) is None and not hashed
    assert keys.verify(presented) == key and len(hashed) == 1
    assert keys.known(presented) == key and len(hashed) == 1
    wrong = presented[:-1] + ("A" if presented[-1] != "A" else "B")
    assert keys.known(wrong) is None and keys.verify(wrong) is None and keys.known(wrong) is None
    for nobody in ("", "es_", presented.replace(key.id, "0" * 12), presented + "x", "é"):
        assert keys.verify(nobody) is None
    assert len(hashed) == 2, "of what is no key of the file, nothing is computed"


def test_a_key_ends_with_its_time_and_a_file_that_is_gone_opens_nothing(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    key, presented = file.add("a", ("stream",), expires=now() - timedelta(seconds=1))
    keys = Keys(file.path, spawn)
    assert keys.verify(presented) is None and keys.valid(key.id) is None
    _, lasting = file.add("b", ("stream",))
    eventually(lambda: keys.verify(lasting), "the change is seen")
    file.path.write_text("broken")
    eventually(lambda: keys.verify(lasting), "what cannot be read changes nothing")
    file.path.unlink()
    eventually(lambda: keys.known(lasting) is None and keys.verify(lasting) is None, "without a file no keys")


def test_programs_that_change_the_file_at_once_lose_nothing(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    code = "import sys; from pathlib import Path; from server.access.key_file import KeyFile\n"
    code += "for n in range(3): KeyFile(Path(sys.argv[1])).add('x', ('files',))"
    command = [sys.executable, "-c", code, str(file.path)]
    programs = [subprocess.Popen(command, cwd=ROOT) for _ in range(3)]
    assert [program.wait() for program in programs] == [0, 0, 0]
    assert len(file.read()) == 9


def test_whoever_guesses_is_heard_ever_more_seldom_and_others_are_not() -> None:
    guesses = Guesses()
    for _ in range(BURST):
        guesses.take("203.0.113.1")
    with pytest.raises(ClientError) as told:
        guesses.take("203.0.113.1")
    assert told.value.code == "RATE_LIMITED" and told.value.retry_after_s
    guesses.take("203.0.113.2")
    for _ in range(3 * BURST):  # right ones cost nothing
        guesses.take("203.0.113.3")
        guesses.right("203.0.113.3")
    for n in range(BURST):
        guesses.take(f"2001:db8::{n}")
    with pytest.raises(ClientError):
        guesses.take("2001:db8::ffff")
    for n in range(2 * ADDRESSES):
        guesses.take(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}")
    assert len(guesses._buckets) == ADDRESSES


def test_a_guesser_on_the_socket_and_rest_is_told_to_wait_and_keys_that_are_known_are_not(keyed: Any) -> None:
    server, file = keyed
    key, presented = KeyFile(file).add("steady", ("stream",))
    eventually(lambda: status(server, presented) == 200, "it is in effect")
    wrong = f"es_{key.id}_{'A' * 43}"
    eventually(lambda: status(server, wrong) == 429, "too many guesses")
    eventually(lambda: refusal(server, auth={"token": wrong})["data"]["code"] == "RATE_LIMITED", "there, too")
    told = eventually(  # each worker counts for itself
        lambda: rest(server, {"Authorization": f"Bearer {wrong}"})[1]["error"].get("retry_after_s"),
        "and for how long",
    )
    assert told > 0
    # Of several workers each knows the keys that it has seen.
    eventually(lambda: status(server, presented) == 200, "who was known is let in")
