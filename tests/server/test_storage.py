"""Folders of results: whole or absent, never the same twice, found by name alone, swept without harm to others."""

from __future__ import annotations

import os
import re
import threading
import time
from pathlib import Path

import pytest

from server.storage import LEFTOVER_S, OutputStore, StoreError, id_of, replaced_folder

NOW = 1_750_000_000.0
DAY = 86_400.0


@pytest.fixture
def store(tmp_path: Path) -> OutputStore:
    return OutputStore(tmp_path / "results", keep_days=1, keep_gb=1)


def made(store: OutputStore, text: str = "x", age_s: float = 0, suffix: str = "") -> str:
    """A result of so many seconds before NOW."""
    with store.folder("outputs", suffix, now=NOW) as draft:
        (draft / "result.json").write_text(text)
        name = id_of(draft)
    os.utime(store.root / name, (NOW - age_s, NOW - age_s))
    return name


def visible(store: OutputStore) -> set[str]:
    return {path.name for path in store.root.iterdir()}


def test_a_result_appears_whole_at_the_end_of_its_block(store: OutputStore) -> None:
    with store.folder("outputs") as draft:
        (draft / "result.json").write_text("{}")
        assert store.find(id_of(draft)) is None
        assert all(name.startswith(".") for name in visible(store))
    found = store.find(id_of(draft))
    assert found is not None and (found / "result.json").read_text() == "{}"
    assert re.fullmatch(r"outputs_\d{8}_\d{6}", found.name)
    assert visible(store) == {found.name}
    assert found.stat().st_mode & 0o777 == 0o750, "the group may read"
    assert (found / "result.json").stat().st_mode & 0o777 == 0o640
    assert store.root.stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o770])
def test_a_result_has_the_mode_that_was_chosen_whatever_the_umask(tmp_path: Path, mode: int) -> None:
    mask = os.umask(0o077)
    try:
        with OutputStore(tmp_path / "results", 1, 1, mode).folder("outputs") as draft:
            assert draft.stat().st_mode & 0o077 == 0, "what is half written is nobody else's business"
            (draft / "result.json").write_text("{}")
    finally:
        os.umask(mask)
    (found,) = (tmp_path / "results").iterdir()
    modes = [path.stat().st_mode & 0o777 for path in (found.parent, found, found / "result.json")]
    assert modes == [mode, mode, mode & 0o666]


@pytest.mark.parametrize("broken", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_breaks_leaves_nothing(store: OutputStore, broken: type[BaseException]) -> None:
    with pytest.raises(broken), store.folder("session", "abc") as draft:
        (draft / "half").write_text("…")
        raise broken
    assert visible(store) == set()


def test_names_carry_kind_time_and_suffix_and_count_up_within_a_second(store: OutputStore) -> None:
    def name(kind: str, suffix: str = "") -> str:
        with store.folder(kind, suffix, now=NOW) as draft:  # type: ignore[arg-type]
            return id_of(draft)

    stamp = time.strftime("%Y%m%d_%H%M%S", time.localtime(NOW))
    assert [name("outputs") for _ in range(3)] == [f"outputs_{stamp}{n}" for n in ("", "_1", "_2")]
    assert name("session", "a.b-c_D") == f"session_{stamp}_a.b-c_D"
    assert name("session", "a.b-c_D") == f"session_{stamp}_1_a.b-c_D"
    longest = name("session", 64 * "x"), name("session", 64 * "x")
    assert all(store.find(found) for found in longest)


@pytest.mark.parametrize("suffix", ["../x", "a/b", "ä", "a b", 65 * "x", "x\n", "\x00"])
def test_a_suffix_that_is_no_part_of_a_name_is_refused(store: OutputStore, suffix: str) -> None:
    with pytest.raises(ValueError, match="folder's name"), store.folder("session", suffix):
        pass


def test_two_results_of_one_second_never_meet(store: OutputStore) -> None:
    """20 threads over 2 stores on one folder, as two processes would be, all in one second."""
    others, names, barrier = OutputStore(store.root, 1, 1), [], threading.Barrier(20)

    def work(number: int) -> None:
        barrier.wait()
        for _ in range(4):
            with (store if number % 2 else others).folder("outputs", now=NOW) as draft:
                (draft / "who").write_text(str(number))
                name = id_of(draft)
            names.append((name, number))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({name for name, _ in names}) == len(names) == 80
    assert all((store.root / name / "who").read_text() == str(number) for name, number in names)
    assert visible(store) == {name for name, _ in names}


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            ".",
            "..",
            "/",
            "../results",
            "outputs_20250615_150640/..",
            "outputs_20250615_150640/result.json",
        ),
        *("/etc", "outputs_2025_150640", "outputs_20250615_150640\n", "outputs_２０２５0615_150640", "\x00"),
        *("outputs_20250615_150640_", "Outputs_20250615_150640", ".outputs_20250615_150640", 300 * "a"),
        *("mine", "outputs_99990615_150640", "outputs_20250615_150640_../..", "%2e%2e", "outputs_*"),
    ],
)
def test_only_the_name_of_a_result_finds_or_deletes_anything(store: OutputStore, name: str) -> None:
    made(store)
    (store.root / "mine").mkdir()
    (store.root / ".outputs_20250615_150640").mkdir()
    before = visible(store)
    assert store.find(name) is None
    assert not store.delete(name)
    assert visible(store) == before


def test_links_are_not_followed(store: OutputStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    name = made(store, age_s=9 * DAY)
    (store.root / name / "link").symlink_to(outside)
    os.utime(store.root / name, (0, 0))
    link = store.root / "outputs_20200101_000000"
    link.symlink_to(outside)
    assert store.find(link.name) is None and not store.delete(link.name)
    assert store.sweep(now=NOW) == 1
    assert link.is_symlink() and (outside / "precious").exists() and not (store.root / name).exists()


def test_a_deleted_result_is_gone_and_cannot_be_deleted_twice(store: OutputStore) -> None:
    name, other = made(store), made(store)
    assert [store.delete(name), store.delete(name)] == [True, False]
    assert visible(store) == {other}


def test_the_sweep_removes_what_is_too_old_and_nothing_else(store: OutputStore) -> None:
    old, young = made(store, age_s=1.1 * DAY), made(store, age_s=0.9 * DAY)
    foreign = [
        store.root / name for name in ("mine", "outputs_notes", ".hidden", "recordings_20200101_000000")
    ]
    for path in foreign:
        path.mkdir()
        os.utime(path, (0, 0))
    (store.root / "outputs_20200101_000000").write_text("a file, no folder")
    assert store.sweep(now=NOW) == 1
    assert store.find(young) and not store.find(old)
    assert all(path.exists() for path in foreign)
    assert (store.root / "outputs_20200101_000000").is_file()


def test_the_sweep_removes_the_oldest_first_until_there_is_room(tmp_path: Path) -> None:
    store = OutputStore(tmp_path, keep_days=10, keep_gb=2500 / 1e9)
    names = [made(store, 1000 * "x", age_s=age) for age in (300, 500, 100, 400, 200)]
    assert store.sweep(now=NOW) == 3
    assert visible(store) == {names[2], names[4]}
    assert store.sweep(now=NOW) == 0


def test_the_sweep_can_be_limited_to_one_kind(store: OutputStore) -> None:
    name = made(store, age_s=9 * DAY)
    assert store.sweep(("session",), now=NOW) == 0
    assert store.find(name)
    assert store.sweep(("outputs",), now=NOW) == 1


def test_the_sweep_takes_what_a_crash_left_and_nothing_that_is_being_written(store: OutputStore) -> None:
    now = time.time()
    long_ago = now - LEFTOVER_S - 60
    store.root.mkdir()
    for name in (".outputs_20250101_000000", ".session_20250101_000000_x", ".session_20250101_000001_y"):
        (store.root / name).mkdir()
        (store.root / name / "audio").write_text("x")
        os.utime(store.root / name, (long_ago, long_ago))
    for name in (".outputs_20250101_000000", ".session_20250101_000000_x"):  # but y is still being written
        os.utime(store.root / name / "audio", (long_ago, long_ago))
    (store.root / ".removed_0123456789abcdef").mkdir()
    with store.folder("outputs") as draft:
        os.utime(draft, (0, 0))
        store.sweep(now=now)
        assert visible(store) == {draft.name, ".session_20250101_000001_y"}
    assert store.find(id_of(draft))


def test_a_store_that_is_not_there_yet_is_empty(store: OutputStore) -> None:
    assert store.sweep() == 0
    assert store.find("outputs_20250615_150640") is None
    assert store.why_not() is None
    assert visible(store) == set()


def test_a_store_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = OutputStore(tmp_path / "file" / "results", 1, 1)
    assert "Not a directory" in (store.why_not() or "")
    assert store.sweep() == 0
    assert OutputStore(tmp_path / "file", 1, 1).sweep() == 0
    with pytest.raises(StoreError, match=r"cannot be written: .*files\.outputs"), store.folder("outputs"):
        pass


def test_a_folder_takes_the_place_of_another_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "labels"
    for text in ("first", "second"):
        with replaced_folder(target, tmp_path) as draft:
            (draft / text).write_text(text)
            assert not (target / text).exists()
        assert [path.name for path in target.iterdir()] == [text]
    with pytest.raises(KeyboardInterrupt), replaced_folder(target, tmp_path) as draft:
        (draft / "third").write_text("half of it")
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["labels"] and (target / "second").exists()
    assert target.stat().st_mode & 0o777 == 0o755
