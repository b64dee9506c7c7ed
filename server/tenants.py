"""Tenants, who share a server and see nothing of each other: their names, and where each one's results lie."""

from __future__ import annotations

import threading
from pathlib import Path

from server.storage import OutputStore

DEFAULT = "default"  # the tenant of everybody who holds no key of another
NAME = r"^[a-z0-9][a-z0-9-]{0,31}$"
FOLDER = "tenants"  # below the folder of results: a folder for each but the default


def qualified(tenant: str, name: str) -> str:
    """A name that tenants choose for themselves, which holds no colon, as one among those of all."""
    return name if tenant == DEFAULT else f"{tenant}:{name}"


def split(key: str) -> tuple[str, str]:
    """The tenant, and the name that it has chosen."""
    tenant, _, name = key.rpartition(":")
    return tenant or DEFAULT, name


class TenantStores:
    """The results of each. May be used from any thread."""

    def __init__(self, root: Path, keep_days: float, keep_gb: float, mode: int) -> None:
        """What is kept, and for how long, holds for each tenant by itself: none takes another's place."""
        self.root, self._keep, self._mode = root, (keep_days, keep_gb), mode
        self._stores: dict[str, OutputStore] = {}
        self._lock = threading.Lock()

    def of(self, tenant: str) -> OutputStore:
        with self._lock:
            if tenant not in self._stores:
                root = self.root if tenant == DEFAULT else self.root / FOLDER / tenant
                self._stores[tenant] = OutputStore(root, *self._keep, self._mode)
            return self._stores[tenant]

    def all(self) -> dict[str, OutputStore]:
        """Of everybody who has something here, or may have."""
        try:
            names = [path.name for path in (self.root / FOLDER).iterdir() if path.is_dir()]
        except OSError:
            names = []
        return {name: self.of(name) for name in (DEFAULT, *sorted(names))}
