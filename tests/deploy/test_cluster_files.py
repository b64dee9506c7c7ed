"""What deploy/ ships for several servers, as far as it can be checked without Docker and Kubernetes."""

from __future__ import annotations

import re
from typing import Any

import kubernetes_validate
import pytest
import yaml

from server.config import Config
from tests.deploy.test_deploy import DEPLOY, _keys, needs_promtool, promtool

SETTINGS = {f"EMOTION_{s}__{k}".upper() for s in Config.model_fields for k in _keys(s)}
FOLDER = DEPLOY / "kubernetes"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))
VERSION = "1.33"
OBJECTS: list[dict[str, Any]] = [
    each for name in KUSTOMIZATION["resources"] for each in yaml.safe_load_all((FOLDER / name).read_text())
]


def named(kind: str, name: str) -> dict[str, Any]:
    (found,) = [each for each in OBJECTS if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


@pytest.mark.parametrize("each", OBJECTS, ids=lambda each: f"{each['kind']}-{each['metadata']['name']}")
def test_kubernetes_would_take_it(each: dict[str, Any]) -> None:
    """By the schemas of its API, strictly: fields that it does not know are refused, too."""
    kubernetes_validate.validate(each, VERSION, strict=True)


def test_a_wrong_field_would_be_found() -> None:
    broken = yaml.safe_load(yaml.safe_dump(named("Deployment", "emotion-stream")))
    broken["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSION, strict=True)


def test_its_parts_fit_together() -> None:
    deployments = [each for each in OBJECTS if each["kind"] == "Deployment"]
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in deployments]
    for each in deployments:
        assert each["spec"]["selector"]["matchLabels"] == each["spec"]["template"]["metadata"]["labels"]
    for each in OBJECTS:
        if each["kind"] == "Service" and each["metadata"]["name"] != "nobody":
            assert each["spec"]["selector"] in labels
            ports = {
                port["name"]
                for one in deployments
                if one["spec"]["template"]["metadata"]["labels"] == each["spec"]["selector"]
                for container in one["spec"]["template"]["spec"]["containers"]
                for port in container["ports"]
            }
            assert {port["targetPort"] for port in each["spec"]["ports"]} <= ports
    services = {each["metadata"]["name"] for each in OBJECTS if each["kind"] == "Service"}
    for rule in named("Ingress", "emotion-stream")["spec"]["rules"]:
        assert {path["backend"]["service"]["name"] for path in rule["http"]["paths"]} <= services


def test_the_servers_know_every_setting_that_they_are_given() -> None:
    pod = named("Deployment", "emotion-stream")["spec"]["template"]["spec"]
    assert pod["enableServiceLinks"] is False, "EMOTION_STREAM_… would be unknown settings"
    literals = KUSTOMIZATION["configMapGenerator"][0]["literals"]
    given = {literal.partition("=")[0] for literal in literals}
    given |= {each["name"] for each in pod["containers"][0]["env"] if each["name"].startswith("EMOTION_")}
    assert given <= SETTINGS
    page = (DEPLOY / "README.md").read_text(encoding="utf-8")
    for each in pod["containers"][0]["env"]:
        if "valueFrom" in each:
            assert each["valueFrom"]["secretKeyRef"]["key"] in page, "how to make the secret"


@needs_promtool
def test_prometheus_takes_the_configuration_for_several_servers() -> None:
    promtool("check", "config", "cluster.yml")


def test_the_containers_of_a_cluster_fit_together() -> None:
    text = (DEPLOY / "compose.cluster.yaml").read_text(encoding="utf-8")
    compose = yaml.safe_load(text)
    services, volumes, networks = compose["services"], set(compose["volumes"]), set(compose["networks"])
    made_by_hand = {"./certs/emotion.pem"}
    for name, service in services.items():
        assert set(service.get("depends_on", ())) <= set(services) - {name}
        assert set(service["networks"]) <= networks
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            there = (DEPLOY / source).exists() if source.startswith(".") else source in volumes
            assert there or source in made_by_hand, volume
        if "build" not in service:
            assert re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+", service["image"]), "an image of one version"
    for name in ("server-a", "server-b"):
        given = {key for key in services[name]["environment"] if key.startswith("EMOTION_")}
        assert given <= SETTINGS
    front = services["haproxy"]
    assert {front["environment"]["EMOTION_A"], front["environment"]["EMOTION_B"]} == {
        "server-a:7860",
        "server-b:7860",
    }
    address = services["server-a"]["environment"]["EMOTION_SERVER__TRUSTED_PROXIES"]
    assert front["networks"]["inside"]["ipv4_address"] == address
    page = (DEPLOY / "README.md").read_text(encoding="utf-8")
    for name in set(re.findall(r"(?<!\$)\$\{(\w+)", text)):
        assert f"`{name}`" in page, f"{name} is explained"
    published = {name for name, service in services.items() if "ports" in service}
    assert published == {"haproxy", "grafana"}


def test_both_fronts_hold_alike() -> None:
    """What a client may take, and what nobody gets, by HAProxy as by nginx."""
    haproxy = (DEPLOY / "haproxy.cfg").read_text(encoding="utf-8")
    nginx = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    assert "limit_conn emotion_peers 100;" in nginx and "sc0_conn_cur gt 100" in haproxy
    assert "proxy_read_timeout   75s" in nginx and "timeout tunnel 75s" in haproxy
    for header in ("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded"):
        assert re.search(rf"proxy_set_header {header}\s", nginx)
        assert re.search(rf"(set|del)-header {header}\b", haproxy)
