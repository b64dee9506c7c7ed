"""Names, folders and hubs: what an operator is told when the weights are not there."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from stream.models.emotion2vec import hub as hubs
from stream.models.emotion2vec.hub import LICENSE, NAMES, HubUnreachable, NotAModel, explain, license, resolve


def test_a_folder_is_found_as_it_is(folder: Path) -> None:
    assert resolve(str(folder)) == folder


def test_a_folder_that_lacks_files(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    with pytest.raises(NotAModel, match=r"lacks model\.pt, tokens\.txt"):
        resolve(str(tmp_path))


def test_a_name_that_is_none() -> None:
    with pytest.raises(NotAModel, match="neither a folder nor one of emotion2vec_plus_large"):
        resolve("emotion2vec_plus_huge")


def test_a_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The real client against an address where nobody answers."""
    constants = pytest.importorskip(
        "huggingface_hub.constants", reason="funasr brings it; it is not installed"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(HubUnreachable) as told:
        resolve("emotion2vec_plus_base", "huggingface")
    text = str(told.value)
    assert "huggingface could not be reached" in text
    assert "hf download emotion2vec/emotion2vec_plus_base --local-dir emotion2vec_plus_base" in text
    assert "modelscope download --model iic/emotion2vec_plus_base" in text
    assert isinstance(told.value, OSError)  # the engine reports it as fatal, with this text


@pytest.mark.parametrize("hub", ["modelscope", "huggingface"])
def test_what_is_there_is_used_without_asking(
    hub: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, bool]] = []

    def fetch(repo: str, local: bool) -> str:
        asked.append((repo, local))
        return str(folder)

    monkeypatch.setattr(hubs, f"_from_{hub}", fetch)
    assert resolve(NAMES[0], hub) == folder
    assert asked == [(f"{hubs.OWNERS[hub]}/emotion2vec_plus_large", True)]


def test_half_a_download_is_fetched_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(repo: str, local: bool) -> str:
        return str(tmp_path if local else folder)

    monkeypatch.setattr(hubs, "_from_modelscope", fetch)
    assert resolve(NAMES[1], "modelscope") == folder


def test_the_text_names_each_hub() -> None:
    text = explain("emotion2vec_plus_seed", "modelscope", ConnectionError("no route"))
    assert "no route" in text
    assert text.count("emotion2vec_plus_seed") >= 4


def test_the_license_is_read_from_the_folder(tmp_path: Path) -> None:
    assert license(tmp_path) == LICENSE
    readme = tmp_path / "README.md"
    readme.write_text(
        "---\nlicense: other\nlicense_name: model-license\nlicense_link: https://example.org/l\n---\n# x\n"
    )
    assert license(tmp_path) == "other, model-license, https://example.org/l"
    readme.write_text("# nothing\nlicense: said elsewhere\n")
    assert license(tmp_path) == LICENSE
