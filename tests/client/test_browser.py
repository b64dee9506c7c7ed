"""The browser client in a real Chromium: on a page of the server's own, and on one of another site."""

from __future__ import annotations

import base64
import http.server
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emotion_stream_client import EmotionClient

from tests.client.conftest import RATE
from tests.client.proxy import Proxy
from tests.conftest import ROOT, Server
from tests.server.clients import eventually
from tests.server.conftest import ROOMY, running
from tests.server.ledger import Ledger, of_client, same

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium"),
]

# What the tests of this file share: the module, audio, and a stream whose events are kept.
HELP = """
const { EmotionStream, EmotionError, Microphone, recognize } = await import(CLIENT);
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const speech = () => new Int16Array(bytes(AUDIO).buffer);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const code = (promise) => promise.then(() => "none", (problem) => problem.code ?? problem.name);
function listening(options) {
  const stream = new EmotionStream(options);
  const heard = [];
  const told = [];
  stream.on("*", ({ event, payload }) => heard.push([event, payload]));
  for (const event of ["session", "state", "waiting", "dropped", "error", "summary"])
    stream.on(event, (payload) => told.push([event, payload?.code ?? payload]));
  return { stream, heard, told };
}
"""

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    arguments = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def run(chromium: Any, speech: np.ndarray) -> Iterator[Run]:
    """`run(url, script)`: what `script` returns on the page at `url`, with HELP before it."""
    contexts = []

    def run(url: str, script: str, client: str = "/client/emotion-stream.js", audio: bytes = b"") -> Any:
        context = chromium.new_context()
        contexts.append(context)
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.goto(url)
        text = base64.b64encode(audio or speech.tobytes()).decode()
        return page.evaluate(f"async ([CLIENT, AUDIO]) => {{ {HELP} {script} }}", [client, text])

    yield run
    for context in contexts:
        context.close()


STREAM = """
const { stream, heard, told } = listening({ url: URL_OF, name: "a test" });
const answer = await stream.open();
const audio = speech();
for (let at = 0; at < audio.length; at += 800) {
  stream.send(audio.subarray(at, at + 800));
  await pause(10);
  BETWEEN
}
const summary = await stream.stop();
return { answer, heard, told, summary, state: stream.state, kept: stream.bufferedMs };
"""


def book_of(found: Any) -> Ledger:
    book = of_client(found["heard"], found["answer"]["session_id"])
    book.balance()
    return book


def test_a_stream_is_told_what_a_plain_client_is_told(server: Server, run: Run, plain: Ledger) -> None:
    script = STREAM.replace("URL_OF", "undefined").replace("BETWEEN", "")
    found = run(f"{server.url}/healthz", script)
    same(book_of(found), plain)
    assert found["summary"]["audio_ms"] == 7000 and found["summary"]["reason"] == "stop"
    assert found["state"] == "closed" and found["kept"] == 0
    told = [event for event, _ in found["told"]]
    assert told.count("session") == told.count("summary") == 1
    assert not {"error", "dropped"} & set(told)


def test_a_broken_network_loses_nothing_and_repeats_nothing(server: Server, run: Run, plain: Ledger) -> None:
    script = STREAM.replace("URL_OF", "undefined").replace(
        "BETWEEN", 'if (at === 32000 || at === 72000) await fetch("/healthz?cut");'
    )
    network = Cutting(server.port)
    found = run(f"{network.url}/healthz", script)
    network.close()
    same(book_of(found), plain)
    opens = [payload for event, payload in found["told"] if event == "session"]
    assert [o["resumed"] for o in opens] == [False] + [True] * (len(opens) - 1) and len(opens) >= 2
    assert not any(o["replaced"] for o in opens)
    assert found["summary"]["audio_ms"] == 7000


class Cutting(Proxy):
    """A proxy that breaks its connections when a request passes whose path says so."""

    def passed(self, data: bytes) -> None:
        if b"?cut " in data:
            threading.Timer(0.05, self.cut).start()


def test_many_samples_at_once_are_cut_kept_and_paced(server: Server, run: Run) -> None:
    found = run(
        f"{server.url}/healthz",
        """
        const { stream, told } = listening({ sampleRate: 48000, bufferMs: 5000 });
        await stream.open();
        const tone = new Float32Array(48000 * 4).map((_, i) => Math.sin(i / 20));
        const taken = [stream.send(tone), stream.send(tone)];
        await stream.drained(1000);
        taken.push(stream.send(tone));
        await stream.flush();
        const kept = stream.bufferedMs;
        const { audio_ms: audio } = await stream.stop();
        return { taken, kept, audio, dropped: told.filter(([event]) => event === "dropped") };
        """,
    )
    assert found["taken"] == [True, False, True] and found["kept"] == 0
    assert found["audio"] == 8000 and found["dropped"] == [["dropped", {"ms": 4000}]]


def test_two_channels_are_two_timelines(server: Server, run: Run) -> None:
    found = run(
        f"{server.url}/healthz",
        """
        const stream = new EmotionStream({ channels: 2, tags: { queue: "returns" } });
        const channels = new Set();
        stream.on("utterance", ({ channel }) => channels.add(channel));
        await stream.open();
        const left = speech().subarray(0, 32000);
        stream.send([left, left]);
        const { audio_ms: audio, channels: totals } = await stream.stop();
        return { audio, channels: [...channels].sort(), totals: Object.keys(totals).sort() };
        """,
    )
    assert found == {"audio": 2000, "channels": ["agent", "customer"], "totals": ["agent", "customer"]}


def test_a_page_asks_how_a_stretch_sounded(server: Server, run: Run) -> None:
    found = run(
        f"{server.url}/healthz",
        """
        const stream = new EmotionStream();
        await stream.open();
        const audio = speech();
        for (let at = 0; at < audio.length; at += 16000) stream.send(audio.subarray(at, at + 16000));
        await stream.flush();
        const turn = await stream.span(0, 6900, { present: { angry: 0 } });
        const wrong = await code(stream.span(10, 0));
        await stream.stop();
        return { turn, wrong };
        """,
    )
    turn = found["turn"]
    assert turn["complete"] and turn["frames"] > 100 and "angry" in turn["present"]
    assert turn["emotion"] == max(turn["scores"], key=turn["scores"].get)
    assert found["wrong"] == "BAD_REQUEST"


def test_a_page_needs_no_client_at_all(server: Server, run: Run) -> None:
    """The browser's own WebSocket, on the plain door."""
    found = run(
        f"{server.url}/healthz",
        """
        const socket = new WebSocket(location.origin.replace("http", "ws") + "/v1/stream");
        const heard = [];
        const over = new Promise((resolve) => {
          socket.onmessage = ({ data }) => {
            const message = JSON.parse(data);
            heard.push(message.type);
            if (message.type === "ack" && message.to === "start") {
              const audio = speech();
              for (let at = 0; at < audio.length; at += 16000) socket.send(audio.subarray(at, at + 16000));
              socket.send(JSON.stringify({ type: "stop" }));
            }
            if (message.to === "stop") resolve(message);
          };
        });
        await new Promise((resolve) => (socket.onopen = resolve));
        socket.send(JSON.stringify({ encoding: "pcm_s16le" }));
        const { audio_ms } = await over;
        const closed = new Promise((resolve) => (socket.onclose = ({ code }) => resolve(code)));
        socket.close(1000);
        return { heard: [...new Set(heard)].sort(), audio_ms, code: await closed };
        """,
    )
    assert found["audio_ms"] == 7000 and found["code"] == 1000
    assert {"ack", "emotion_result", "session_summary", "speech", "utterance_result"} <= set(found["heard"])


def test_a_session_that_nobody_wants_any_more_is_not_left_open(server: Server, run: Run) -> None:
    run(
        f"{server.url}/healthz",
        """
        const stream = new EmotionStream({ keepConnection: true, sessionId: "first" });
        await stream.connect();
        while (stream.state !== "online") await pause(5);
        const given = code(stream.open());
        const stopped = code(stream.stop({ connectTimeoutS: 0 }));
        await stopped;
        await stream.open({ sessionId: "second" });
        stream.close();
        const other = new EmotionStream({ sessionId: "third" });
        await other.open();
        other.close();
        const fourth = new EmotionStream({ sessionId: "fourth" });
        await fourth.connect();
        while (fourth.state !== "online") await pause(5);
        const pending = code(fourth.open());
        await pause(0);
        fourth.close();
        return [await given, await pending];
        """,
    )
    eventually(lambda: json.loads(server.get("/api/v1/status")[1])["sessions"] == 0, "all are closed", 4)


def test_events_can_be_iterated_over(server: Server, run: Run) -> None:
    kinds = run(
        f"{server.url}/healthz",
        """
        const stream = new EmotionStream({ frameResults: true });
        const kinds = [];
        const loop = (async () => { for await (const { event } of stream) kinds.push(event); })();
        await stream.open();
        stream.send(speech().subarray(0, 32000));
        await stream.stop();
        await loop;
        return kinds;
        """,
    )
    assert kinds[0] == "state" and kinds[-1] == "state"
    assert {"session", "result", "frame", "speech", "utterance", "summary"} <= set(kinds)
    assert kinds.count("frame") > 100


def test_a_loop_that_falls_behind_is_told_so(server: Server, run: Run) -> None:
    taken = run(
        f"{server.url}/healthz",
        """
        const { Emitter } = await import("/client/emitter.js");
        const events = new Emitter();
        const loop = events.loop();
        for (let n = 0; n < 1500; n++) events.emit(n % 100 ? "result" : "utterance", n);
        events.endLoops();
        const taken = [];
        const again = { [Symbol.asyncIterator]: () => loop };
        for await (const { event, payload } of again) taken.push([event, payload]);
        return taken;
        """,
    )
    assert taken[0] == ["skipped", {"events": 500}] and len(taken) == 1001
    assert [n for event, n in taken if event == "utterance"] == list(range(0, 1500, 100))
    assert [n for event, n in taken[-3:]] == [1497, 1498, 1499]


def test_errors_have_the_contracts_codes(server: Server, run: Run) -> None:
    with running(model__name="fake", server__token="sesame") as guarded:
        codes = run(
            f"{server.url}/healthz",
            """
            const open = (options) => code(new EmotionStream({ connectTimeoutS: 1, ...options }).open());
            const closed = new EmotionStream();
            await closed.open();
            await closed.stop();
            return [
              await open({ sampelRate: 8000 }),
              await open({ sampleRate: 1000 }),
              await open({ encoding: "opus" }),
              await open({ url: "http://127.0.0.1:9" }),
              await code(closed.stop()),
              closed.send(new Int16Array(10)),
              await code(recognize(new Blob([]))),
              await code(recognize(new Blob(["no audio at all, really none"]))),
              await code(recognize(new Blob([]), { granularity: "syllable" })),
            ];
            """,
        )
        assert codes == [
            "BAD_REQUEST",
            "UNSUPPORTED_ENCODING",
            "UNSUPPORTED_ENCODING",
            "DISCONNECTED",
            "CLOSED",
            False,
            "NO_AUDIO",
            "UNSUPPORTED_MEDIA",
            "BAD_REQUEST",
        ]
        codes = run(
            f"{guarded.url}/healthz",
            """
            const wrong = await code(new EmotionStream({ token: "no" }).open());
            const stream = new EmotionStream({ token: "sesame" });
            await stream.open();
            await stream.stop();
            return [wrong, await code(recognize(new Blob(["x"]), { token: "no" }))];
            """,
        )
        assert codes == ["UNAUTHORIZED", "UNAUTHORIZED"]


def test_a_file_is_recognized_as_by_the_python_client(
    server: Server, run: Run, client: EmotionClient, demo_wav: Path
) -> None:
    found = run(
        f"{server.url}/healthz",
        """
        const told = { upload: [], steps: [], progress: [] };
        const result = await recognize(new File([bytes(AUDIO)], "a conversation.wav"), {
          embedding: true,
          onUpload: (fraction) => told.upload.push(fraction),
          onStep: ({ step }) => told.steps.push(step),
          onProgress: (progress) => told.progress.push(progress),
        });
        const embedding = await fetch(result.files.embedding);
        return { result, ...told, embedding: embedding.status };
        """,
        audio=demo_wav.read_bytes(),
    )
    mine = client.recognize(demo_wav)
    assert found["result"]["scores"] == mine.scores
    assert found["result"]["utterances"] == mine.raw["utterances"]
    assert found["upload"][-1] == 1 and found["upload"] == sorted(found["upload"])
    assert found["steps"] == ["receive", "decode", "resample", "detect_speech", "score", "save"]
    assert found["embedding"] == 200


def test_old_names_work_and_name_the_new_ones(server: Server, run: Run) -> None:
    found = run(
        f"{server.url}/healthz",
        """
        const warnings = [];
        console.warn = (text) => warnings.push(text);
        const { recognise } = await import(CLIENT);
        const nowhere = { url: "http://127.0.0.1:9", patience: 1 };
        const began = performance.now();
        const codes = [await code(new EmotionStream(nowhere).open())];
        const took = performance.now() - began;
        codes.push(await code(recognise(new Blob(["no audio at all"]))));
        codes.push(await code(recognise(new Blob([]), { patience: 1 })));
        const stream = new EmotionStream();
        await stream.open();
        const { reason } = await stream.stop({ patience: 5 });
        return { warnings, codes, took, reason };
        """,
    )
    assert found["codes"] == ["DISCONNECTED", "UNSUPPORTED_MEDIA", "NO_AUDIO"] and found["reason"] == "stop"
    assert 900 < found["took"] < 15_000  # the old option was heeded: the default is 30 s
    assert [w.split(": ")[1].split(";")[0] for w in found["warnings"]] == [
        "'patience' is now 'connectTimeoutS'",
        "'recognise' is now 'recognize'",
        "'patience' is now 'retryTimeoutS'",
    ]


def test_the_server_says_what_may_be_tried_again(server: Server, run: Run) -> None:
    """And where it does not, as before 0.2.0, the client goes by the codes."""
    assert run(
        f"{server.url}/healthz",
        """
        const may = (code, options) => new EmotionError(code, "", options).retryable;
        return [may("BUSY"), may("BAD_AUDIO"), may("BUSY", { retryable: false }), may("NEW", { retryable: true })];
        """,
    ) == [True, False, False, True]


def test_a_full_server_is_not_waited_for(run: Run) -> None:
    """Though it calls that retryable: who asks for a session decides whether to wait."""
    with running(model__name="fake", limits__max_sessions=1) as full:
        found = run(
            f"{full.url}/healthz",
            """
            const first = new EmotionStream();
            await first.open();
            const began = performance.now();
            const refused = await new EmotionStream().open().catch((problem) => problem);
            const took = performance.now() - began;
            first.close();
            return [refused.code, refused.retryable, refused.fatal, took];
            """,
        )
    assert found[:3] == ["TOO_MANY_SESSIONS", True, True]
    assert found[3] < 15_000  # of the 30 s that a server that is away would be waited for


def test_nothing_is_public_by_accident(server: Server, run: Run) -> None:
    """What the modules export, and what their classes have, is what emotion-stream.d.ts declares, and no more."""
    found = run(
        f"{server.url}/healthz",
        """
        const client = await import(CLIENT);
        const members = (of) => Object.getOwnPropertyNames(of).filter((name) => name !== "constructor");
        const classes = { EmotionStream, Microphone, EmotionError, Resampler: client.Resampler };
        const made = {
          EmotionStream: new EmotionStream(),
          Microphone: new Microphone(() => {}),
          EmotionError: new EmotionError("CODE", "", { status: 400 }),
          Resampler: new client.Resampler(48000, 16000),
        };
        const all = (name) => [...members(classes[name].prototype), ...members(made[name])].sort();
        return [Object.keys(client), Object.fromEntries(Object.keys(made).map((name) => [name, all(name)]))];
        """,
    )
    names, members = found
    declared = (ROOT / "client/js/emotion-stream.d.ts").read_text(encoding="utf-8")
    assert sorted(names) == sorted(re.findall(r"^export (?:class|function|const) (\w+)", declared, re.M))
    of_error = {"cause", "message", "name", "stack"}
    for name, found_members in members.items():
        body = re.search(rf"^export class {name} .*?^}}", declared, re.M | re.S)
        assert body, name
        wanted = re.findall(r"^  (?:readonly )?(\w+)[(:<]", body[0], re.M)
        assert sorted(set(found_members) - of_error) == sorted({*wanted} - {"constructor"}), name


def test_a_request_can_be_given_up(server: Server, run: Run, demo_wav: Path) -> None:
    names = run(
        f"{server.url}/healthz",
        """
        const file = new Blob([bytes(AUDIO)]);
        const early = new AbortController();
        early.abort();
        const late = new AbortController();
        const given = recognize(file, { signal: late.signal, onUpload: () => late.abort() });
        return [await code(recognize(file, { signal: early.signal })), await code(given)];
        """,
        audio=demo_wav.read_bytes(),
    )
    assert names == [20, 20]  # DOMException.ABORT_ERR


class _Site(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """Another site, with a copy of the client as docs/client-browser.md says."""
    shutil.copytree(ROOT / "client" / "js", tmp_path / "js")
    shutil.copy(ROOT / "static/vendor/socket.io-client/socket.io.esm.min.js", tmp_path / "js")
    (tmp_path / "index.html").write_text("<!doctype html><title>another site</title>")
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Site, directory=str(tmp_path)))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_address[1]}"
    httpd.shutdown()
    httpd.server_close()


def test_a_page_of_another_site_may_use_it_where_the_operator_allows_that(
    site: str, run: Run, demo_wav: Path, tmp_path: Path
) -> None:
    script = """
    const url = "SERVER";
    const stream = new EmotionStream({ url, connectTimeoutS: 3 });
    const opened = await code(stream.open());
    if (opened === "none") {
      stream.send(new Float32Array(16000));
      await stream.stop();
    }
    return [opened, await code(recognize(new Blob([bytes(AUDIO)]), { url }))];
    """
    audio = demo_wav.read_bytes()
    allowed = running(server__cors_origins=site, files__outputs=tmp_path / "outputs", **ROOMY)
    with allowed as server, running(model__name="fake") as closed:
        copy, theirs = "/js/emotion-stream.js", f"{server.url}/client/emotion-stream.js"
        for module in (copy, theirs):
            found = run(f"{site}/index.html", script.replace("SERVER", server.url), module, audio)
            assert found == ["none", "none"], module
        found = run(f"{site}/index.html", script.replace("SERVER", closed.url), copy, audio)
        assert found == ["DISCONNECTED", "DISCONNECTED"]


def test_the_microphone_gives_chunks_to_send(server: Server, run: Run) -> None:
    found = run(
        f"{server.url}/healthz",
        """
        const { stream } = listening({ name: "microphone" });
        await stream.open();
        const sizes = [];
        const microphone = new Microphone(({ pcm, samples, level }) => {
          sizes.push([samples, pcm.byteLength, level >= 0 && level <= 1]);
          stream.send(pcm);
        });
        await microphone.open();
        await pause(1200);
        await microphone.close();
        const { audio_ms: audio } = await stream.stop();
        return { sizes, audio };
        """,
    )
    assert len(found["sizes"]) > 5 and found["sizes"][0] == [1600, 3200, True]
    assert found["audio"] == pytest.approx(
        sum(samples for samples, *_ in found["sizes"]) / RATE * 1000, abs=1
    )


def test_socket_io_may_come_from_an_import_map_or_as_a_global(server: Server, chromium: Any) -> None:
    context = chromium.new_context(bypass_csp=True)
    page = context.new_page()
    page.goto(f"{server.url}/healthz")
    io = "/static/vendor/socket.io-client/socket.io.esm.min.js"
    page.set_content(
        f"""<script type="importmap">{{"imports": {{"socket.io-client": "{io}"}}}}</script>
        <script type="module">
          import {{ EmotionStream }} from "/client/emotion-stream.js";
          const one = new EmotionStream();
          await one.open();
          globalThis.io = (await import("{io}")).io;
          const two = new EmotionStream();
          await two.open();
          await one.stop();
          document.title = (await two.stop()).reason;
        </script>"""
    )
    page.wait_for_function("document.title === 'stop'")
    assert not any(
        "/client/socket.io" in entry
        for entry in page.evaluate(
            "() => performance.getEntriesByType('resource').map((entry) => entry.name)"
        )
    )
    context.close()
