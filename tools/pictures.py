"""What every picture shares: the pages' colors, sheets of one look, PNG for files and SVG for the report.

Drawn with matplotlib, without its global state. In an SVG the colors of the sheet become variables of the page,
so that one drawing serves light and dark; words stay words.
"""

from __future__ import annotations

import functools
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from server.language import Language
from server.paths import STATIC, install_command
from stream.types import LABELS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

THEME = STATIC / "shared" / "theme.css"
SHEET = ("card", "ink", "soft", "line", "track", "accent")
# Chinese fonts by their names on Linux, macOS and Windows. Of a collection matplotlib knows the first only.
CHINESE = (
    *("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Noto Sans CJK JP", "WenQuanYi Micro Hei"),
    *("PingFang SC", "Hiragino Sans GB", "Heiti TC", "Arial Unicode MS", "Microsoft YaHei", "SimHei"),
)
# For groups, which have no colors of their own: apart under the common kinds of color blindness (Okabe and Ito).
GROUPS = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
    "#b8a800",
    "#7b52ab",
    "#8c564b",
    "#17becf",
)


class Missing(RuntimeError):
    """A library that this command needs is not installed; the text says how to get it."""


def missing(what: str, library: str) -> Missing:
    return Missing(f"{what} needs {library}, which is not installed: {install_command('tools')}")


@functools.cache
def colors() -> dict[str, str]:
    """The theme's light colors by name."""
    css = THEME.read_text(encoding="utf-8")
    light = css[css.index(":root") : css.index("}")]
    return dict(re.findall(r"--([a-z-]+):\s*(#[0-9a-f]{6});", light))


def of_emotions() -> list[str]:
    """In the order of LABELS."""
    return [colors()[label] for label in LABELS]


def group_color(group: int) -> str:
    """Of a cluster; -1, no cluster, is gray."""
    return colors()["unknown"] if group < 0 else GROUPS[group % len(GROUPS)]


@functools.cache
def chinese_font() -> str | None:
    """One that is installed. Raises Missing."""
    try:
        from matplotlib import font_manager
    except ImportError:
        raise missing("Drawing", "matplotlib") from None
    installed = set(font_manager.get_font_names())
    return next((name for name in CHINESE if name in installed), None)


@contextmanager
def fonts(language: Language) -> Iterator[None]:
    """Texts that are made or drawn meanwhile have a font for the language, where there is one. Raises Missing."""
    name = chinese_font() if language == "zh" else None
    if name is None:
        with warnings.catch_warnings():
            # Of a page: its reader has the font that is missing here.
            warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
            yield
        return
    from matplotlib import rc_context

    with rc_context({"font.family": [name, "DejaVu Sans"]}):
        yield


def sheet(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure in inches and its axes, row by row. Raises Missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise missing("Drawing", "matplotlib") from None
    figure = Figure(figsize=(width, height), layout="constrained", facecolor=colors()["card"])
    axes: list[Axes] = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax in axes:
        plain(ax)
    return figure, axes


def plain(ax: Axes) -> None:
    ink, soft, line = (colors()[name] for name in ("ink", "soft", "line"))
    ax.set_facecolor(colors()["card"])
    for side, spine in ax.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(line)
    ax.tick_params(colors=soft, labelsize=9, length=0)
    ax.grid(axis="y", color=line, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.title.set_color(ink)


def title(ax: Axes, text: str) -> None:
    ax.set_title(text, loc="left", fontsize=11, color=colors()["ink"], pad=8)


def legend(ax: Axes, **where: object) -> None:
    ax.legend(frameon=False, fontsize=9, labelcolor=colors()["soft"], handlelength=1, handleheight=1, **where)


def png(figure: Figure, language: Language = "en") -> bytes:
    out = io.BytesIO()
    with fonts(language):
        figure.savefig(out, format="png", dpi=150)
    return out.getvalue()


def svg(figure: Figure, salt: str, language: Language = "en") -> str:
    """An <svg> element for a page that defines the theme's variables; `salt` keeps the ids of several apart."""
    from matplotlib import rc_context

    out = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}), fonts(language):
        figure.savefig(
            out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    text = out.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.S)
    names = {colors()[name]: name for name in (*SHEET, *LABELS)}
    return re.sub(
        "#[0-9a-f]{6}", lambda found: f"var(--{names[found[0]]})" if found[0] in names else found[0], text
    )
