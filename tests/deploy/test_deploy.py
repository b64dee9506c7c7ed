"""What deploy/ ships, as far as it can be run without Docker and Grafana: Prometheus and its tools, the files' own
logic, and every query of the dashboard against a real Prometheus that scrapes a real server while somebody speaks.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import re
import runpy
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from server.config import Config
from server.language import LANGUAGES
from tests.conftest import ROOT, Server
from tests.prometheus import PROMETHEUS, Prometheus, speak, until

DEPLOY = ROOT / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana/dashboards/emotion-stream-en.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']}-{target['refId']}")
    for panel in PANELS
    for target in panel["targets"]
]
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="there is no promtool (Debian: prometheus)")
needs_prometheus = pytest.mark.skipif(
    PROMETHEUS is None, reason="there is no prometheus (Debian: prometheus)"
)


def promtool(*arguments: str) -> None:
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, *arguments], cwd=DEPLOY / "prometheus", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_prometheus_takes_the_configuration() -> None:
    promtool("check", "config", "prometheus.yml")


@needs_promtool
def test_alerts_come_when_they_should_and_only_then() -> None:
    promtool("test", "rules", "rules_test.yml")


@needs_promtool
def test_every_alert_is_tested() -> None:
    groups = yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text(encoding="utf-8"))["groups"]
    tested = (DEPLOY / "prometheus/rules_test.yml").read_text(encoding="utf-8")
    for rule in (rule for group in groups for rule in group["rules"]):
        assert rule["alert"] in tested
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"] and rule["annotations"]["description"]


def test_containers_fit_together() -> None:
    """What `docker compose config` would find, and what it would not: files that are not there."""
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    services, named = compose["services"], set(compose["volumes"])
    for name, service in services.items():
        assert set(service.get("depends_on", ())) <= set(services) - {name}
        for volume in service.get("volumes", ()):
            source, target, *_ = volume.split(":")
            assert target.startswith("/")
            assert (DEPLOY / source).exists() if source.startswith(".") else source in named, volume
        if "build" not in service:
            assert re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+", service["image"]), "an image of one version"
    build = services["server"]["build"]
    context = (DEPLOY / build["context"]).resolve()
    assert context == ROOT and (context / build["dockerfile"]).exists()
    sections = {f"EMOTION_{s}__{k}".upper() for s in Config.model_fields for k in _keys(s)}
    given = {key for key in services["server"]["environment"] if key.startswith("EMOTION_")}
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert given | set(re.findall(r"\bEMOTION_\w+(?==)", dockerfile)) <= sections


def test_an_image_for_emotion2vec_keeps_what_it_fetches() -> None:
    """What is built with, where weights are fetched to, and the GPU on top."""
    server = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]["server"]
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert set(server["build"]["args"]) == set(re.findall(r"^ARG (\w+)", dockerfile, re.M))
    assert (
        'pip install -r "requirements-$part.txt" -c constraints.txt --extra-index-url "$TORCH_INDEX"'
        in dockerfile
    )
    assert (ROOT / "requirements-emotion2vec.txt").exists()
    writable = [volume.split(":")[1] for volume in server["volumes"] if not volume.endswith(":ro")]
    caches = re.findall(r"(?:MODELSCOPE_CACHE|HF_HOME)=(\S+)", dockerfile)
    assert server["read_only"] and len(caches) == 2
    assert all(any(cache.startswith(f"{folder}/") for folder in writable) for cache in caches)
    overlay = yaml.safe_load((DEPLOY / "compose.gpu.yaml").read_text(encoding="utf-8"))["services"]
    (device,) = overlay["server"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert set(overlay["server"]["build"]["args"]) == {"TORCH_INDEX"}, "with CUDA"


def test_nothing_is_published_with_a_password_that_everybody_knows() -> None:
    """Grafana was, with admin/admin, to whoever reached EMOTION_BIND."""
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    grafana = yaml.safe_load(text)["services"]["grafana"]["environment"]
    assert grafana["GF_SECURITY_ADMIN_PASSWORD"].startswith("${GRAFANA_PASSWORD:?"), "compose ends without it"
    server = yaml.safe_load(text)["services"]["server"]["environment"]
    assert server["EMOTION_SERVER__OPEN"] == "${EMOTION_OPEN:-false}"
    page = (DEPLOY / "README.md").read_text(encoding="utf-8")
    for name in set(re.findall(r"\$\{(\w+)", text)):
        assert f"`{name}`" in page, f"{name} is explained"


def _keys(section: str) -> list[str]:
    annotation: Any = Config.model_fields[section].annotation
    return list(annotation.model_fields)


def test_the_image_is_built_from_files_that_are_there() -> None:
    for line in (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines():
        if line.startswith("COPY "):
            *sources, _ = line.split()[1:]
            assert all(source == "." or list(ROOT.glob(source)) for source in sources), line


def test_the_image_is_written_as_its_linter_likes_it() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [hadolint, "--failure-threshold", "warning", DEPLOY / "Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_is_well_formed() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells
    for panel in PANELS:
        assert panel["description"] and panel["fieldConfig"]["defaults"]["unit"]
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
    source = yaml.safe_load(
        (DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text(encoding="utf-8")
    )["datasources"][0]
    assert source["url"] == "http://prometheus:9090" and source["type"] == "prometheus"
    provider = yaml.safe_load(
        (DEPLOY / "grafana/provisioning/dashboards/dashboards.yml").read_text(encoding="utf-8")
    )["providers"][0]
    mounts = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]["grafana"][
        "volumes"
    ]
    assert any(mount.split(":")[1] == provider["options"]["path"] for mount in mounts)


def test_grafanas_home_and_the_server_speak_one_language() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    chosen = services["server"]["environment"]["EMOTION_SERVER__LANGUAGE"]
    assert chosen == "${EMOTION_LANGUAGE:-en}" and chosen in home
    for language in LANGUAGES:
        path = home.replace(chosen, language).replace("/etc/grafana/", "")
        board = json.loads((DEPLOY / "grafana" / path).read_text(encoding="utf-8"))
        assert bool(re.search("[\u4e00-\u9fff]", board["title"])) == (language == "zh")


def test_every_metric_that_is_asked_for_is_in_the_protocol() -> None:
    documented = (ROOT / "docs/protocol.md").read_text(encoding="utf-8")
    rules = (DEPLOY / "prometheus/rules.yml").read_text(encoding="utf-8")
    asked = set(re.findall(r"\bemotion_\w+", rules + json.dumps(DASHBOARD)))
    for name in {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}:
        assert name in documented, name


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """The shipped Prometheus configuration, scraping a server to which somebody has spoken."""
    folder = tmp_path_factory.mktemp("prometheus")
    shutil.copy(DEPLOY / "prometheus/rules.yml", folder)
    config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text(encoding="utf-8"))
    server = Server()
    try:
        config["global"] |= {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        config["scrape_configs"][0]["static_configs"][0]["targets"] = [server.url.removeprefix("http://")]
        prometheus = Prometheus(config, folder)
        try:
            until(prometheus.ready, 30, "prometheus to be ready")
            until(lambda: prometheus.value("up") == 1, 30, "the first scrape")
            asyncio.run(speak(server.url, ROOT / "demo/conversation.wav"))
            with (ROOT / "demo/conversation.wav").open("rb") as f:
                requests.post(f"{server.url}/upload", files={"file": f}, timeout=60).raise_for_status()
            server.get("/api/v1/status")
            recognize(server.url, ROOT / "demo/conversation.wav")
            time.sleep(2.5)  # two more scrapes see the end of it
            yield prometheus
        finally:
            prometheus.stop()
    finally:
        server.stop()


def recognize(url: str, recording: Path) -> None:
    with recording.open("rb") as file:
        answer = requests.post(f"{url}/api/v1/emotion/recognize", files={"audio_file": file}, timeout=60)
    assert answer.status_code == 200, answer.text


def asked(prometheus: Prometheus, query: str) -> list[dict[str, Any]]:
    query = query.replace("$__rate_interval", "30s").replace("$instance", ".*")
    found: list[dict[str, Any]] = prometheus.get("/api/v1/query", query=query)["result"]
    return found


@needs_prometheus
@pytest.mark.slow
@pytest.mark.parametrize("query", QUERIES)
def test_every_panel_has_data(watched: Prometheus, query: str) -> None:
    found = asked(watched, query)
    if "emotion_gpu_" in query and not shutil.which("nvidia-smi"):
        assert found == [], "this machine has no GPU"
        return
    assert found
    assert all(math.isfinite(float(series["value"][1])) for series in found), found


@needs_prometheus
@pytest.mark.slow
def test_the_servers_of_the_selector_are_found(watched: Prometheus) -> None:
    (variable,) = [v for v in DASHBOARD["templating"]["list"] if v["name"] == "instance"]
    metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()  # type: ignore[union-attr]
    assert watched.get(f"/api/v1/label/{label}/values", **{"match[]": metric})


@needs_prometheus
@pytest.mark.slow
def test_shares_of_emotions_add_up(watched: Prometheus) -> None:
    (panel,) = [panel for panel in PANELS if panel["title"] == "Emotion shares"]
    shares = [float(series["value"][1]) for series in asked(watched, panel["targets"][0]["expr"])]
    assert len(shares) == 9 and sum(shares) == pytest.approx(1)


@needs_prometheus
@pytest.mark.slow
def test_a_healthy_server_raises_no_alert(watched: Prometheus) -> None:
    groups = watched.get("/api/v1/rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert rules and all(rule["health"] == "ok" for rule in rules)
    assert [rule["name"] for rule in rules if rule["state"] != "inactive"] == []


def test_the_container_installs_one_version_of_each_requirement_and_it_is_in_its_range() -> None:
    locked = {
        canonicalize_name(pinned.name): pinned
        for pinned in map(Requirement, _lines(ROOT / "deploy" / "constraints.txt"))
    }
    parts = (_lines(ROOT / f"requirements-{part}.txt") for part in ("light", "torch", "ray", "redis"))
    for wanted in map(Requirement, itertools.chain(*parts)):
        (exact,) = locked[canonicalize_name(wanted.name)].specifier
        assert exact.operator == "==" and wanted.specifier.contains(exact.version), wanted.name
    assert "-r requirements-light.txt -c constraints.txt" in (ROOT / "deploy" / "Dockerfile").read_text()


def _lines(path: Path) -> list[str]:
    lines = (line.partition(" #")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith(("#", "-"))]


def test_the_dashboard_says_the_same_in_chinese() -> None:
    """All of its texts have a translation, and nothing else differs: the file is what translate.py writes."""
    folder = DEPLOY / "grafana"
    texts = json.loads((folder / "chinese.json").read_text(encoding="utf-8"))
    shown = re.findall(
        r'"(?:title|description|legendFormat|label|text)": ("(?:[^"\\]|\\.)*")',
        (folder / "dashboards/emotion-stream-en.json").read_text(encoding="utf-8"),
    )
    words = {json.loads(text) for text in shown}
    names = {"Prometheus", "p50", "p95", "p99"}
    plain = {word for word in words if re.search("[a-z]", re.sub(r"\{\{\w+\}\}", "", word))}
    assert plain - names == texts.keys()
    written = (folder / "dashboards/emotion-stream-zh.json").read_text(encoding="utf-8")
    told = runpy.run_path(str(folder / "translate.py"))["chinese"]()
    assert written == told, "run deploy/grafana/translate.py"
    queries = re.compile(r'"expr": .*')
    assert queries.findall(written) == queries.findall(json.dumps(DASHBOARD, ensure_ascii=False, indent=2))
