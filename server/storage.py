"""Folders of results: made whole or not at all, named by second, found by name alone, swept by age and size.

A folder is written under a hidden name and renamed when it is complete: who finds one finds all of it. The
hidden name is the claim to the final one, so two results of one second never meet. What a crash left hidden is
swept later. Nothing here follows a link, and nothing that was not made here is ever removed.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Literal

from server import system

Kind = Literal["outputs", "session"]
KINDS: tuple[Kind, ...] = ("outputs", "session")

_SUFFIX = r"[A-Za-z0-9._-]{1,64}"
_ID = re.compile(r"(outputs|session)_[0-9]{8}_[0-9]{6}(_[A-Za-z0-9._-]{1,72})?")  # _N, _suffix, _N_suffix
_DOOMED = ".removed_"  # renamed so before it is taken apart: nobody finds half of it
LEFTOVER_S = 3600.0  # a hidden folder in which nothing was written for so long is a crash's
DRAFT = ".draft."  # how the names of `replaced_folder`s begin
EMBEDDINGS = ".embeddings"  # what tools made of all results' (tools/matrix.py): goes with the first that goes

log = logging.getLogger("outputs")


class StoreError(OSError):
    """The folder cannot be written; the text says why and what to do."""


@contextmanager
def whole_folder(draft: Path, target: Path, replace: bool = False) -> Iterator[Path]:
    """`draft`, a new folder to write into: it is `target` once the block ends, and gone when it raises.

    `replace`: in the place of what was there. Raises OSError.
    """
    try:
        yield draft
        if replace and os.path.lexists(target):
            old = draft.with_name(f"{draft.name}.old")
            target.rename(old)
            try:
                draft.rename(target)
            except OSError:
                old.rename(target)
                raise
            shutil.rmtree(old)
        else:
            draft.rename(target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


@contextmanager
def replaced_folder(target: Path, drafts: Path) -> Iterator[Path]:
    """A new folder, `.draft.…` in `drafts`, to write into: it takes `target`'s place, readable by all, or none."""
    with whole_folder(Path(tempfile.mkdtemp(dir=drafts, prefix=DRAFT)), target, replace=True) as draft:
        yield draft
        draft.chmod(0o755)


class OutputStore:
    """The results below `root`, which is made when first needed."""

    def __init__(self, root: Path, keep_days: float, keep_gb: float, mode: int = 0o700) -> None:
        """Results older than `keep_days` are swept, and the oldest while all take more than `keep_gb`.

        `mode`: of a result's folder once it is complete; its files have the same without the right to enter.
        """
        self.root, self._mode = root, mode
        self._keep_s, self._keep_bytes = keep_days * 86_400, keep_gb * 1e9
        self.kept_bytes = 0  # of results, as the last sweep found it
        self._held: set[str] = set()  # hidden folders that this process is writing
        self._lock = threading.Lock()

    @contextmanager
    def folder(self, kind: Kind, suffix: str = "", now: float | None = None) -> Iterator[Path]:
        """A hidden folder to write into: a result once the block ends, nothing when it raises.

        Its name will be `id_of(folder)`: kind, local time of `now` (seconds since 1970), `_N` where others came in
        the same second, and `suffix` (letters, digits, `.`, `_`, `-`). Raises StoreError.
        """
        if suffix and not re.fullmatch(_SUFFIX, suffix):
            raise ValueError(f"{suffix!r} cannot be part of a folder's name")
        stamp = datetime.fromtimestamp(time.time() if now is None else now).strftime("%Y%m%d_%H%M%S")
        draft = self._claim(f"{kind}_{stamp}", suffix)
        try:
            with whole_folder(draft, self.root / id_of(draft)):
                yield draft
                self.let_in(draft)
        finally:
            with self._lock:
                self._held.discard(draft.name)

    def let_in(self, draft: Path) -> None:
        """Give a folder that is complete the mode of results, and its files: until then it is nobody else's."""
        for path in draft.iterdir():
            path.chmod(self._mode & 0o666)
        draft.chmod(self._mode)

    def find(self, name: str) -> Path | None:
        """The result of that name; None when there is none, or `name` is not one."""
        path = self.root / name
        return path if _ID.fullmatch(name) and _is_folder(path) else None

    def delete(self, name: str) -> bool:
        """Remove a result; False when there is none of that name."""
        path = self.find(name)
        return path is not None and self._remove(path)

    def why_not(self) -> str | None:
        """Why nothing can be written here, in words for the operator; None when it can."""
        try:
            with self.folder("outputs", f"check-{secrets.token_hex(4)}") as draft:
                (draft / "x").write_bytes(b"x")
                raise _Tried
        except _Tried:
            return None
        except OSError as broken:
            return str(broken)

    def sweep(self, kinds: tuple[Kind, ...] = KINDS, now: float | None = None, fresh_s: float = 0) -> int:
        """Remove what is too old, then the oldest while there is too much; the number of results removed.

        Results younger than `fresh_s` stay, however many. `kept_bytes` says what all that stayed takes.
        """
        now = time.time() if now is None else now
        found: list[tuple[float, int, Path]] = []
        for path in self._folders():
            name = path.name
            if name.startswith(_DOOMED):
                shutil.rmtree(path, ignore_errors=True)
            elif _ID.fullmatch(name) and name.startswith(kinds):
                found.append((_mtime(path), size_of(path), path))
            elif self._is_leftover(path, now):
                log.info("removing %s, left by a process that ended in the middle of it", path)
                self._remove(path)
        removed = 0
        total = sum(size for _, size, _ in found)
        for written, size, path in sorted(found):
            age = now - written
            if age <= self._keep_s and (total <= self._keep_bytes or age < fresh_s):
                break
            removed += self._remove(path)
            total -= size
        self.kept_bytes = total
        return removed

    def _claim(self, stem: str, suffix: str) -> Path:
        tail = f"_{suffix}" if suffix else ""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            for n in range(1_000_000):
                name = f"{stem}_{n}{tail}" if n else f"{stem}{tail}"
                draft = self.root / f".{name}"
                with self._lock:  # a sweep must not take it for a crash's before it is known as held
                    try:
                        draft.mkdir(mode=0o700)  # voices are nobody else's business
                    except FileExistsError:
                        continue
                    self._held.add(draft.name)
                # Whoever made a result of this name had claimed it first: now that we have, nobody else will.
                if not os.path.lexists(self.root / name):
                    return draft
                draft.rmdir()
                with self._lock:
                    self._held.discard(draft.name)
        except OSError as broken:
            raise StoreError(f"{self.root} cannot be written: {broken.strerror}; see files.outputs") from None
        raise StoreError(f"{self.root}: a million results in one second")

    def _folders(self) -> list[Path]:
        try:
            with os.scandir(self.root) as entries:
                return [Path(e.path) for e in entries if e.is_dir(follow_symlinks=False)]
        except OSError:  # not there, or not a folder: `why_not` tells the operator
            return []

    def _is_leftover(self, path: Path, now: float) -> bool:
        if not (path.name.startswith(".") and _ID.fullmatch(path.name[1:])):
            return False
        with self._lock:
            if path.name in self._held:
                return False
        return now - max([_mtime(path), *map(_mtime, path.rglob("*"))]) > LEFTOVER_S

    def _remove(self, path: Path) -> bool:
        """Out of sight first, then off the disk; False when somebody else was faster."""
        doomed = self.root / f"{_DOOMED}{secrets.token_hex(8)}"
        try:
            path.rename(doomed)
        except OSError as gone:
            if gone.errno != errno.ENOENT:
                log.warning("%s cannot be removed: %s", path, gone.strerror)
            return False
        shutil.rmtree(doomed, ignore_errors=True)
        shutil.rmtree(self.root / EMBEDDINGS, ignore_errors=True)
        return True


def id_of(draft: Path) -> str:
    """The name that a folder being written will have."""
    return draft.name.removeprefix(".")


class _Tried(Exception):
    """Leaves the block of a folder that was made only to see whether it can be."""


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _mtime(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat(follow_symlinks=False).st_mtime
    return 0.0


def size_of(folder: Path) -> int:
    """Bytes of the files in it."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.stat(follow_symlinks=False).st_size
    return total


def main(root: str, keep_days: str, keep_gb: str, fresh_s: str, *kinds: str) -> None:
    """`python -m server.storage ROOT DAYS GB SECONDS KIND…`: one sweep; a server has no time for it.

    Prints how many bytes the results take that stayed.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    system.be_nice(10)
    store = OutputStore(Path(root), float(keep_days), float(keep_gb))
    store.sweep(tuple(kind for kind in KINDS if kind in kinds), fresh_s=float(fresh_s))
    with contextlib.suppress(BrokenPipeError):  # whoever asked has been killed meanwhile
        os.write(1, str(store.kept_bytes).encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
