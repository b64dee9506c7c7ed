"""What the clients themselves say exists in both languages, and reaches people in theirs."""

from __future__ import annotations

import ast
import json
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from emotion_stream_client import EmotionClient, EmotionError
from emotion_stream_client.words import CHINESE, said

from tests.conftest import ROOT, Server
from tests.server.conftest import running

PYTHON = sorted((ROOT / "client" / "python" / "emotion_stream_client").glob("*.py"))
BROWSER = sorted((ROOT / "client" / "js").glob("*.js"))
HAN = re.compile(r"[\u4e00-\u9fff]")
PLACE = re.compile(r"\{(\w+)\}")


def same_places(words: dict[str, str]) -> None:
    for english, chinese in words.items():
        assert sorted(PLACE.findall(english)) == sorted(PLACE.findall(chinese)) and HAN.search(chinese), (
            english
        )


def strings(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_every_sentence_of_the_python_client_has_its_chinese_one() -> None:
    same_places(CHINESE)
    used = {text for path in PYTHON if path.name != "words.py" for text in strings(path)}
    joined = {text + end for text in used for end in used if end == ": {why}"}
    assert set(CHINESE) <= used | joined, "nothing is translated that nobody says"
    for path in PYTHON:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "EmotionError":
                message = node.args[1]
                assert not isinstance(message, ast.Constant | ast.JoinedStr), f"{path.name}:{node.lineno}"
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "said":
                text = node.args[1]
                assert not isinstance(text, ast.Constant) or text.value in CHINESE, (
                    f"{path.name}:{node.lineno}"
                )


def test_a_language_is_taken_by_its_beginning() -> None:
    assert said("zh-CN", "the stream has ended") == "这个流已经结束"
    assert said("", "no answer to {event}", event="{x}") == "no answer to {x}"


@pytest.fixture
def strange() -> Iterator[str]:
    """A server of another kind."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(BrokenPipeError):
                self.wfile.write(b"<html>hello</html>")

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("language", "nobody", "other"), [
    ("zh", "没有应答", "不是 emotion-stream 服务器的应答：<html>"),
    ("", "no answer from", "not an answer of an emotion-stream server: <html>"),
])  # fmt: skip
def test_errors_of_the_python_client_speak_its_language(
    strange: str, language: str, nobody: str, other: str
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    for address, words in ((url, nobody), (strange, other)):
        with EmotionClient(address, language=language) as client, pytest.raises(EmotionError, match=words):
            client.status()
    with EmotionClient(url, language=language) as client:
        stream = client.stream(connect_timeout_s=0.3)
        with pytest.raises(EmotionError, match="未能与服务器建立会话" if language else "no session"):
            stream.__enter__()


@pytest.fixture(scope="module")
def english() -> Iterator[Server]:
    with running(model__name="fake", server__language="en") as server:
        yield server


def test_a_stream_is_told_by_the_server_in_the_clients_language(english: Server) -> None:
    with (
        EmotionClient(english.url, language="zh") as client,
        pytest.raises(EmotionError, match="不认识编码 'g729'"),
        client.stream(encoding="g729", connect_timeout_s=5),
    ):
        pass
    with EmotionClient(english.url, language="zh") as client:
        stream = client.stream()
        with stream:
            stream.flush()
        with pytest.raises(EmotionError, match="这个流已经结束"):
            stream.send(b"\0\0")


def chinese_of_the_browser() -> dict[str, str]:
    """The table of client/js/words.js, read as JSON."""
    text = (ROOT / "client" / "js" / "words.js").read_text(encoding="utf-8")
    table = text[text.index("const CHINESE = {") :]
    found = re.findall(r'^  "([^"]+)":\s*"([^"]+)",$', table[: table.index("\n};")], re.MULTILINE)
    assert len(found) >= 10
    return {json.loads(f'"{key}"'): json.loads(f'"{value}"') for key, value in found}


def test_every_sentence_of_the_browser_client_has_its_chinese_one() -> None:
    words = chinese_of_the_browser()
    same_places(words)
    code = {path.name: path.read_text(encoding="utf-8") for path in BROWSER if path.name != "words.js"}
    for key in words:
        assert any(f'"{key}"' in text for text in code.values()), f"nobody says {key}"
    for name, text in code.items():
        named = re.findall(r'const (\w+) =\s*"([^"]+)"', text)
        told_of = [value for key, value in named if re.search(rf"(said|wrong)\({key}\b", text)]
        told_of += re.findall(r'(?:said|wrong)\(\s*"([^"]+)"', text) + re.findall(r'MIC_\w+: "([^"]+)"', text)
        for told in told_of:
            assert told in words, f"{name}: {told}"
        for told in re.findall(r"new EmotionError\(\s*[^,]+,\s*([^,)]+)", text):
            assert not told.startswith(('"', "`")), f"{name}: {told}"
        for told in re.findall(r"message: ([^,}]+)", text):
            assert not told.startswith(('"', "`")), f"{name}: {told}"


@pytest.mark.e2e
def test_errors_of_the_browser_client_speak_its_language(english: Server) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    from tests.e2e.browser import CHROMIUM, QUIET

    if CHROMIUM is None:
        pytest.skip("no chromium: apt-get install chromium")
    script = """async () => {
      const { EmotionStream, recognize } = await import("/client/emotion-stream.js");
      const message = (promise) => promise.then(() => "none", (problem) => problem.message);
      const nobody = { url: "http://127.0.0.1:9/", connectTimeoutS: 0.3 };
      const heard = [];
      for (const language of [undefined, "en", "zh"]) {
        heard.push(await message(new EmotionStream({ ...nobody, language }).open()));
        heard.push(await message(new EmotionStream({ language }).stop()));
        heard.push(await message(recognize(new Blob(["x"]), { url: "http://127.0.0.1:9/", language })));
        heard.push(await message(new EmotionStream({ language, encoding: "g729" }).open()));
      }
      return heard;
    }"""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        for locale in ("zh-CN", "en-GB"):
            page = browser.new_context(locale=locale).new_page()
            page.goto(f"{english.url}/healthz")
            heard = page.evaluate(script)
            spoken = [bool(HAN.search(message)) for message in heard]
            assert spoken == [locale == "zh-CN"] * 4 + [False] * 4 + [True] * 4, heard
        browser.close()
