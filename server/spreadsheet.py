"""Cells of CSV files that spreadsheets open: no text that they would run as a formula.

The same rule as the page's (static/upload/csv.js): names of files and labels come from anywhere, and a cell that
begins with `=` is a program to Excel. A `'` before it makes it text.
"""

from __future__ import annotations

import re

_FORMULA = re.compile(r"\s*[=+\-@＝＋－＠\t\r\n]")  # the wide forms count as well


def cell(value: object) -> object:
    """As it is, but for a text that begins like a formula. Numbers are never changed."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value
