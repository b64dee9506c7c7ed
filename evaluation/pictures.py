"""Confusion matrices and reliability diagrams as PNG, drawn with Pillow: numbers in, pictures out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from evaluation.metrics import N_BINS, NOTHING, Numbers
from stream.types import LABELS, N_LABELS

SCALE = 2  # pixels per unit: sharp on screens of high density
INK, MUTED, GRID, PAPER = (32, 38, 46), (104, 113, 124), (224, 228, 233), (255, 255, 255)
BLUES = ((247, 250, 253), (198, 219, 239), (107, 174, 214), (33, 113, 181), (8, 48, 107))
BAR, BOLD, SHY, LINE = (66, 133, 190), (240, 150, 120), (152, 205, 176), (150, 157, 166)


class Canvas:
    """A white sheet; sizes and places in units of SCALE pixels."""

    def __init__(self, width: float, height: float) -> None:
        self.image = Image.new("RGB", (round(width * SCALE), round(height * SCALE)), PAPER)
        self._draw = ImageDraw.Draw(self.image)

    def box(self, x: float, y: float, w: float, h: float, fill: tuple[int, ...]) -> None:
        left, top, right, bottom = (round(at * SCALE) for at in (x, y, x + w, y + h))
        if left < right and top < bottom:
            self._draw.rectangle((left, top, right - 1, bottom - 1), fill=fill)

    def line(self, x0: float, y0: float, x1: float, y1: float, fill: tuple[int, ...] = GRID) -> None:
        self._draw.line([x0 * SCALE, y0 * SCALE, x1 * SCALE, y1 * SCALE], fill=fill, width=SCALE)

    def text(
        self, x: float, y: float, text: str, size: float = 13, fill: tuple[int, ...] = INK, anchor: str = "mm"
    ) -> None:
        """`anchor` as Pillow has it: l, m, r and then a, m, s."""
        font = ImageFont.load_default(size * SCALE)
        self._draw.text((x * SCALE, y * SCALE), text, font=font, fill=fill, anchor=anchor)

    def upright(self, x: float, y: float, text: str, size: float = 13) -> None:
        """Read from below, centered at (x, y)."""
        font = ImageFont.load_default(size * SCALE)
        left, top, right, bottom = (round(v) for v in font.getbbox(text))
        strip = Image.new("RGB", (right - left + 4, bottom - top + 4), PAPER)
        ImageDraw.Draw(strip).text((2 - left, 2 - top), text, font=font, fill=MUTED)
        turned = strip.rotate(90, expand=True)
        at = (round(x * SCALE - turned.width / 2), round(y * SCALE - turned.height / 2))
        self.image.paste(turned, at)


def confusion_picture(matrix: Numbers, columns: Sequence[int], title: str, note: str) -> Image.Image:
    """matrix (N_LABELS, N_LABELS + 1) of clips by truth and answer; `columns`: the answers to show.

    Rows are the labels that have clips; a cell's shade and number are its share of the row.
    """
    rows = [label for label in range(N_LABELS) if matrix[label].sum() > 0]
    shown = [*columns, *([NOTHING] if matrix[:, NOTHING].any() else [])]
    cell_w, cell_h, left, top = 76.0, 46.0, 142.0, 112.0
    width, height = left + cell_w * len(shown) + 92, top + cell_h * len(rows) + 34
    canvas = Canvas(max(width, 560), height)
    canvas.text(24, 28, title, 18, anchor="lm")
    canvas.text(24, 52, note, 12.5, MUTED, "lm")
    canvas.text(left + cell_w * len(shown) / 2, top - 36, "the answer", 12.5, MUTED)
    canvas.upright(24, top + cell_h * len(rows) / 2, "the label", 12.5)
    for at, column in enumerate(shown):
        name = "nothing" if column == NOTHING else LABELS[column]
        canvas.text(left + cell_w * (at + 0.5), top - 14, name, 12.5)
    for line, row in enumerate(rows):
        y, total = top + cell_h * line, matrix[row].sum()
        canvas.text(left - 12, y + cell_h / 2, LABELS[row], 12.5, anchor="rm")
        canvas.text(left + cell_w * len(shown) + 12, y + cell_h / 2, f"{total:.0f} clips", 11.5, MUTED, "lm")
        for at, column in enumerate(shown):
            share = float(matrix[row, column] / total)
            x = left + cell_w * at
            canvas.box(x + 1, y + 1, cell_w - 2, cell_h - 2, shade(share))
            if matrix[row, column]:
                ink = PAPER if share > 0.6 else INK
                canvas.text(x + cell_w / 2, y + cell_h / 2, percent(share), 15 if row == column else 13, ink)
    return canvas.image


def percent(share: float) -> str:
    return "<1%" if 0 < share < 0.005 else f"{share:.0%}"


def shade(share: float) -> tuple[int, ...]:
    """From paper to dark blue, evenly in brightness."""
    at = share * (len(BLUES) - 1)
    low = min(int(at), len(BLUES) - 2)
    return tuple(round(a + (b - a) * (at - low)) for a, b in zip(BLUES[low], BLUES[low + 1], strict=True))


@dataclass(frozen=True, eq=False)
class Reliability:
    """One diagram: per bin clips, sum of confidence, right answers (N_BINS, 3)."""

    title: str
    note: str
    bins: Numbers


def reliability_picture(diagrams: Sequence[Reliability], title: str, columns: int) -> Image.Image:
    """Accuracy by confidence: bars on the diagonal are honest; below, how many clips each bin has."""
    n_columns = min(columns, len(diagrams))
    n_rows = -(-len(diagrams) // n_columns)
    side, high, pad_x, pad_y, top = 216.0, 40.0, 64.0, 118.0, 72.0
    canvas = Canvas(24 + n_columns * (side + pad_x) + 12, top + n_rows * (side + high + pad_y))
    canvas.text(24, 28, title, 18, anchor="lm")
    canvas.box(24, 48, 10, 10, BAR)
    canvas.text(40, 53, "share of right answers", 12, MUTED, "lm")
    canvas.box(196, 48, 10, 10, BOLD)
    canvas.text(212, 53, "too sure by", 12, MUTED, "lm")
    canvas.box(304, 48, 10, 10, SHY)
    canvas.text(320, 53, "not sure enough by", 12, MUTED, "lm")
    for at, diagram in enumerate(diagrams):
        x = 24 + 40 + (at % n_columns) * (side + pad_x)
        y = top + 50 + (at // n_columns) * (side + high + pad_y)
        _reliability(canvas, x, y, side, high, diagram)
    return canvas.image


def _reliability(canvas: Canvas, x: float, y: float, side: float, high: float, diagram: Reliability) -> None:
    canvas.text(x, y - 30, diagram.title, 14, anchor="lm")
    canvas.text(x, y - 12, diagram.note, 11.5, MUTED, "lm")
    for tick in np.linspace(0, 1, 5):
        canvas.line(x, y + side * (1 - tick), x + side, y + side * (1 - tick))
        canvas.text(x - 6, y + side * (1 - tick), f"{tick:g}", 10, MUTED, "rm")
        canvas.text(x + side * tick, y + side + high + 20, f"{tick:g}", 10, MUTED)
    width, most = side / N_BINS, max(1.0, float(diagram.bins[:, 0].max()))
    for b, (clips, sure, right) in enumerate(diagram.bins):
        if not clips:
            continue
        accuracy, confidence = right / clips, sure / clips
        left = x + b * width + 1
        canvas.box(left, y + side * (1 - accuracy), width - 2, side * accuracy, BAR)
        low, up = sorted((accuracy, confidence))
        canvas.box(
            left, y + side * (1 - up), width - 2, side * (up - low), BOLD if confidence > accuracy else SHY
        )
        tall = max(1.0, high * clips / most)
        canvas.box(left, y + side + 8 + high - tall, width - 2, tall, LINE)
    canvas.line(x, y + side, x + side, y, LINE)
    canvas.line(x, y + side, x + side, y + side, MUTED)
    canvas.text(x + side / 2, y + side + high + 36, "confidence", 11, MUTED)
