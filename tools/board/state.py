"""What the board shows and changes: a map, labels in the folder of results, and what is taught from them."""

from __future__ import annotations

import shlex
import stat
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePath

from server.config import Config
from server.engine import Engine
from server.files.result import AUDIO
from server.paths import COMMAND
from stream.custom_labels import MAX_LABELS
from stream.types import JsonDict
from tools import few_shot, labels, pictures, teach, words
from tools.few_shot import BadExamples
from tools.items import reason
from tools.vectors import Vectors


class Refusal(Exception):
    """Something that the page has words for, by its code; `values` are for the places in them."""

    def __init__(self, code: str, **values: object) -> None:
        super().__init__(code)
        self.code, self.values = code, values


def result_pages(top: Path, config: Config) -> Callable[[str], str | None]:
    """By the id of a result below `top`: its page, where the server that keeps it has an address."""
    outputs, base = config.files.folder.resolve(), config.server.public_url.rstrip("/")
    known = bool(base) and outputs.is_relative_to(top.resolve())
    kept = outputs.relative_to(top.resolve()) if known else None

    def page(id_: str) -> str | None:
        path = PurePath(id_)
        if kept != path.parent or not path.name.startswith("outputs_"):
            return None
        return f"{base}/result#{path.name}"

    return page


class MapBoard:
    """May be used from any thread."""

    def __init__(
        self,
        top: Path,
        among: Vectors,
        map_: JsonDict,
        engine: Callable[[], Engine],
        taught: Path,
        page: Callable[[str], str | None] = lambda id_: None,
    ) -> None:
        """`map_`: of `cluster.as_data`, of the records of `among`; `engine`: of the model that is set, when it is
        needed; `taught`: the folder for what is taught; `page`: where a server shows the result of that id. Raises
        ValueError and OSError for labels that are broken.
        """
        self._top, self._among, self._map, self._page = top, among, map_, page
        self._load_engine, self._taught = engine, taught
        self._engine: Engine | None = None
        labels.read(top)  # what is wrong with them is told now
        self._lock = threading.Lock()  # of labels
        self._teaching = threading.Lock()

    def to_json(self) -> JsonDict:
        given = labels.read(self._top)
        told = {name: column for name, column in self._map.items() if name != "id"}
        return {
            **told,
            "folder": self._top.resolve().name,
            "label": [given.get(id_) for id_ in self._map["id"]],
            "page": [self._page(id_) for id_ in self._map["id"]],
            "colors": pictures.GROUPS,
            "labels_zh": words.chinese_names(),
            "fewest": few_shot.FEWEST,
            "longest": labels.LONGEST,
        }

    def audio(self, number: int) -> Path | None:
        """What the model heard of that recording, where it was kept."""
        if not 0 <= number < len(self._among.records):
            return None
        path = self._among.records[number].folder / AUDIO
        try:
            return path.resolve() if stat.S_ISREG(path.stat().st_mode) else None
        except OSError:
            return None

    def label(self, numbers: list[int], name: str | None) -> None:
        """Give these recordings a label, or take theirs away. Raises Refusal."""
        try:
            ids = {self._map["id"][number] for number in numbers if number >= 0}
            wanted = None if name is None else labels.clean(name)
        except (ValueError, IndexError):
            raise Refusal("LABEL", n=labels.LONGEST) from None
        with self._lock:
            try:
                changed = {id_: label for id_, label in labels.read(self._top).items() if id_ not in ids}
                changed |= {id_: wanted for id_ in ids if wanted is not None}
                if len(set(changed.values())) > MAX_LABELS:
                    raise Refusal("LABELS", n=MAX_LABELS)
                labels.save(self._top, changed)
            except (OSError, ValueError) as wrong:
                raise Refusal("UNWRITABLE", why=reason(wrong)) from None

    def teach(self, name: str, replace: bool) -> JsonDict:
        """As `tools teach` does, from the recordings that have a label. Raises Refusal."""
        if not teach.NAME.fullmatch(name):
            raise Refusal("NAME")
        out = self._taught / teach.default_folder(name).name
        if out.exists() and not replace:
            raise Refusal("EXISTS", where=str(out))
        given = labels.read(self._top)
        here = Counter(given[id_] for id_ in self._map["id"] if id_ in given)
        if len(here) < 2 or min(here.values()) < few_shot.FEWEST:
            raise Refusal("TOO_FEW", n=few_shot.FEWEST)
        if not self._teaching.acquire(blocking=False):
            raise Refusal("BUSY")
        try:
            return self._teach(name, given, out, replace)
        except BadExamples as wrong:
            raise Refusal("OTHER", message=str(wrong)) from None
        except pictures.Missing as wrong:
            raise Refusal("MISSING", message=str(wrong)) from None
        except (OSError, ValueError, ImportError) as wrong:
            raise Refusal("OTHER", message=str(wrong)) from None
        finally:
            self._teaching.release()

    def _teach(self, name: str, given: dict[str, str], out: Path, replace: bool) -> JsonDict:
        if self._engine is None:
            self._engine = self._load_engine()
        spec = self._engine.spec
        assert spec is not None
        if spec.name != self._among.model:
            raise Refusal("MODEL", theirs=self._among.model, ours=spec.name)
        gathered = teach.of_labels(self._among, given)
        made = teach.teach(gathered, name, self._engine)
        teach.save(made.labels, out, replace)
        return {
            **made.figures.to_json(),
            "name": name,
            "where": str(out),
            "few": bool(min(made.figures.clips) < few_shot.FEW),
            "doubles": gathered.doubles,
            "command": f"{COMMAND} analyze … --custom-labels {shlex.quote(str(out))}",
        }
