"""Every example that ships in config.yaml works, alone and with all others: on every way into the server.

An example is a line that is commented out; it is switched on as a person would, by taking the mark away. With all
of them, and all that is offered, secrets are looked for where they must not be: in the log, in command lines of
its processes, in its temporary folder and among its results.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests
import soundfile
import yaml

from server import config
from stream import custom_labels, fingerprint
from stream.models.compact import model as compact
from tests.conftest import ROOT, Server
from tests.server import ledger
from tests.server.clients import Client, eventually
from tests.server.conftest import no_traceback, running
from tests.server.receivers import Receiver

Connect = Callable[..., Client]

SHIPPED = (ROOT / "config.yaml").read_text(encoding="utf-8").splitlines()
EXAMPLE = re.compile(r"( +)# ((?:- )?\{.*\}|(?:- )?[a-z_]+: .*)$")
LISTED = re.compile(r"( +[a-z_]+:) +\[\](.*)$")


def examples() -> list[int]:
    """The numbers of the lines that are examples."""
    return [i for i, line in enumerate(SHIPPED) if EXAMPLE.match(line)]


def switched_on(chosen: list[int]) -> str:
    """config.yaml with these examples; an empty list that they fill is no longer written as one."""
    lines = list(SHIPPED)
    for i in chosen:
        found = EXAMPLE.match(lines[i])
        assert found
        lines[i] = found[1] + found[2]
        if found[2].startswith("- "):
            above = max(k for k in range(i) if LISTED.match(SHIPPED[k]))
            lines[above] = LISTED.sub(r"\1\2", lines[above])
    return "\n".join(lines) + "\n"


# What the comments beside settings offer, all at once, besides the examples.
OFFERED = {
    "server__async_mode": "threading",
    "server__log_format": "json",
    "server__token": "let-me-in",
    "monitor__token": "let-me-look",
    "policy__watch": "customer",
    "policy__mono": "allow",
    "channels__left": "customer",
    "channels__right": "agent",
    "recording__sessions": "true",
    "recording__audio": "true",
}
CASES: dict[str, tuple[list[int], dict[str, Any]]] = {
    **{SHIPPED[i].split("#", 1)[1].strip()[:60]: ([i], {}) for i in examples()},
    "all examples": (examples(), {}),
    "all examples, all that is offered": (examples(), OFFERED),
}


# Whatever the server is told and must not tell. The CRM's address is in the settings: only its key is secret.
SECRETS = {
    "EMOTION_SERVER__TOKEN": "server-token-7f3a91",
    "EMOTION_MONITOR__TOKEN": "monitor-token-c02d44",
    "CRM_SECRET": "crm-secret-91be07",
    "WECOM_ROBOT_URL": "robot-key-5d68f2",  # a part of it
}
# So that a moment of the demo raises an alert, which every receiver is to be told.
LOUD = {
    "name": "critical",
    "when": {"any_of": ["angry", "neutral", "sad", "happy"], "above": 0.01},
    "level": "critical",
}


@pytest.fixture(scope="module")
def robot() -> Iterator[Receiver]:
    receiver = Receiver(lambda n: (200, b'{"errcode": 0}'))
    yield receiver
    receiver.close()


def test_there_are_examples_and_they_are_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_SECRET", "s")
    monkeypatch.setenv("WECOM_ROBOT_URL", "http://127.0.0.1:9/")
    assert len(examples()) >= 2
    plain = yaml.safe_load("\n".join(SHIPPED))
    for chosen in [[i] for i in examples()] + [examples()]:
        path = tmp_path / "config.yaml"
        path.write_text(switched_on(chosen), encoding="utf-8")
        assert yaml.safe_load(path.read_text(encoding="utf-8")) != plain
        config.load(path)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_an_example_works_on_every_way_in(
    case: str, tmp_path: Path, connect: Connect, demo_pcm: bytes, robot: Receiver
) -> None:
    chosen, offered = CASES[case]
    path, outputs = tmp_path / "config.yaml", tmp_path / "outputs"
    path.write_text(switched_on(chosen), encoding="utf-8")
    settings = {"config": path, "files__outputs": outputs, **offered}
    if offered:
        settings["model__taught"] = offered_labels(tmp_path / "taught")
    secrets = {"CRM_SECRET": "s", "WECOM_ROBOT_URL": f"{robot.url}/send?key=k"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in secrets.items():
            patch.setenv(name, value)
        with running(**settings) as server:
            live_and_desk(server, connect, demo_pcm, offered)
            upload(server, offered)
            no_traceback(server.log())
            assert not [word for word in ("let-me-in", "let-me-look", "key=k") if word in server.log()]
        analyzed(path, offered)


@pytest.mark.slow
def test_with_every_hook_on_all_entrances_work_and_no_secret_is_anywhere(
    tmp_path: Path, connect: Connect, demo_pcm: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    crm, robot = Receiver(), Receiver(lambda n: (200, b'{"errcode": 0}'))
    shared, temporary, outputs = tmp_path / "config.yaml", tmp_path / "tmp", tmp_path / "outputs"
    temporary.mkdir()
    told = yaml.safe_load(switched_on(examples()))
    assert len(told["alerts"]["webhooks"]) >= 2
    for hook in told["alerts"]["webhooks"]:  # as they ship, but for a receiver on this machine
        if not hook["url"].startswith("env:"):
            hook["url"] = f"{crm.url}/emotion"
        hook["min_level"] = "info"
    told["alerts"]["rules"][0] = LOUD
    shared.write_text(yaml.safe_dump(told, allow_unicode=True), encoding="utf-8")
    offered = {k: v for k, v in OFFERED.items() if not k.endswith("token")}
    offered |= {k.removeprefix("EMOTION_").lower(): v for k, v in SECRETS.items() if k.startswith("EMOTION_")}
    monkeypatch.setenv("CRM_SECRET", SECRETS["CRM_SECRET"])
    monkeypatch.setenv("WECOM_ROBOT_URL", f"{robot.url}/send?key={SECRETS['WECOM_ROBOT_URL']}")
    monkeypatch.setenv("TMPDIR", str(temporary))
    labels = offered_labels(tmp_path / "taught")
    settings = {"config": shared, "files__outputs": outputs, "model__custom_labels": labels, **offered}
    try:
        with running(**settings) as server:
            live_and_desk(server, connect, demo_pcm, offered)
            upload(server, offered)
            pages(server)
            (first, *_), (card, *_) = crm.wait(), robot.wait()
            assert first.json and card.path.endswith(f"key={SECRETS['WECOM_ROBOT_URL']}")
            found_in(processes(server), "the command line of a process")
            found_in({str(p): p.read_bytes() for p in files_of(temporary, outputs)}, "a file")
            no_traceback(server.log())
        found_in({"log": server.log().encode()}, "the log")
        found_in({str(p): p.read_bytes() for p in files_of(temporary, outputs)}, "a file that is left")
        assert {p.name for p in files_of(outputs)} >= {"result.json", "record.json", "audio.wav"}
    finally:
        crm.close()
        robot.close()


def found_in(texts: dict[str, bytes], where: str) -> None:
    """Fails where one of them holds a secret."""
    assert texts, f"nothing was looked at: {where}"
    for name, text in texts.items():
        for secret in SECRETS.values():
            assert secret.encode() not in text, f"{secret} in {where}: {name}"


def processes(server: Server) -> dict[str, bytes]:
    """The command lines that any user of the machine sees: of the server, its model, its file processes."""
    top = psutil.Process(server.process.pid)
    lines = {str(one.pid): "\0".join(one.cmdline()).encode() for one in (top, *top.children(recursive=True))}
    assert any(b"server.engine.worker" in line for line in lines.values())
    assert any(b"server.uploads.worker" in line for line in lines.values())
    return lines


def files_of(*folders: Path) -> list[Path]:
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]


def pages(server: Server) -> None:
    for path in ("/", "/upload", "/desk", "/openapi.json", "/metrics"):
        status, text = server.get(path)
        assert status == 200, path
        found_in({path: text.encode()}, "a page")


def offered_labels(folder: Path) -> Path:
    """Labels of one's own, for the embedded model; what they say means nothing."""
    model = compact.load("cpu")
    heard = model.score([fingerprint.window(model.spec)])[0].embedding
    assert heard is not None
    rng = np.random.default_rng(0)
    size = model.spec.embedding_size
    made = custom_labels.CustomLabels(
        *("moods", ("calm", "鼓舞"), model.spec.name, np.zeros(size, np.float32), np.ones(size, np.float32)),
        *(rng.normal(size=(2, size)).astype(np.float32), np.zeros(2, np.float32), heard, {"uar": 0.5}),
    )
    folder.mkdir()
    made.save(folder)
    return folder


def live_and_desk(server: Server, connect: Connect, demo_pcm: bytes, offered: dict[str, Any]) -> None:
    """A stream of one channel, whose books balance, while a desk looks on."""
    speaker = connect(server, auth={"token": offered.get("server__token", "")})
    watcher = connect(server, auth={"token": offered.get("monitor__token", "")}, namespace="/monitor")
    session_id = speaker.start(name="Ms Li")["session_id"]
    speaker.speak(demo_pcm[: 5 * 32_000])
    shown = eventually(lambda: watcher.call("list")["sessions"], "the desk shows the session")
    assert [s["session_id"] for s in shown] == [session_id]
    assert speaker.stop()["lost_ms"] == 0
    book = ledger.of_client(speaker.heard, session_id)
    book.balance()
    assert book.scored
    if offered.get("recording__sessions"):
        key = {"Authorization": f"Bearer {offered['monitor__token']}"}
        kept = eventually(
            lambda: requests.get(f"{server.url}/api/v1/sessions", headers=key, timeout=30).json()["sessions"],
            "the record",
        )
        assert kept[0]["session_id"] == session_id and "audio.wav" in kept[0]["files"]


def upload(server: Server, offered: dict[str, Any]) -> None:
    key = {"Authorization": f"Bearer {offered.get('server__token', '')}"}
    with (ROOT / "demo" / "conversation.wav").open("rb") as file:
        answer = requests.post(
            f"{server.url}/api/v1/emotion/recognize", files={"audio_file": file}, headers=key, timeout=60
        )
    assert answer.status_code == 200, answer.text
    assert answer.json()["utterances"] and ("taught" in answer.json()) == bool(offered)


def analyzed(path: Path, offered: dict[str, Any]) -> None:
    """The command line reads the same settings."""
    sound = path.parent / "a.wav"
    soundfile.write(sound, np.zeros(16_000), 16_000)
    settings = {f"EMOTION_{name.upper()}": value for name, value in offered.items()}
    environment = {**os.environ, **settings, "EMOTION_CONFIG": str(path), "CRM_SECRET": "s"}
    environment["WECOM_ROBOT_URL"] = "http://127.0.0.1:9/"
    command = [sys.executable, "-m", "cli", "analyze", str(sound), "--json"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["emotion"] == "unknown"
