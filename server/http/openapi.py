"""The description of the REST interface, kept by hand in openapi.yaml; names the code knows are put in here."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

from server import __version__
from server.errors import CODES
from stream.types import LABELS, JsonDict

FILE = Path(__file__).with_suffix(".yaml")


@cache
def document() -> JsonDict:
    """OpenAPI 3.1, as served at /openapi.json."""
    told: JsonDict = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    told["info"]["version"] = __version__
    schemas = told["components"]["schemas"]
    schemas["Label"]["enum"] = list(LABELS)
    schemas["Scores"]["propertyNames"] = {"enum": list(LABELS)}
    schemas["Error"]["properties"]["error"]["properties"]["code"]["enum"] = list(CODES)
    return told
