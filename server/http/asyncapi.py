"""The description of live audio, AsyncAPI 3.0.

What clients send is made from the code that reads it; results stand in asyncapi.yaml, and tests hold what really
passes to them.
"""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path

import yaml
from flask import Flask, Response, jsonify

from server import __version__
from server.errors import CODES
from server.live.requests import AUDIO_FIELDS, MAX_ID, SPAN_FIELDS, START_FIELDS
from stream.codec import ENCODINGS
from stream.types import LABELS, JsonDict

FILE = Path(__file__).with_suffix(".yaml")
_TYPES = {int: "integer", str: "string", bool: "boolean", dict: "object"}
# What clients send: the fields, and which of them have to be there. Values are looked at more closely on arrival.
SENT: dict[str, tuple[JsonDict, tuple[str, ...]]] = {
    "start": (START_FIELDS, ()),
    "audio_stream": (AUDIO_FIELDS, ("chunk",)),
    "span": (SPAN_FIELDS, ("begin_ms", "end_ms")),
    "flush": ({"session_id": str}, ()),
    "stop": ({"session_id": str}, ()),
}
RESULTS = (
    *("emotion_result", "frame_result", "speech", "utterance_result", "lost", "alert", "dynamics", "load"),
    *("session_summary", "error"),
)
_NUMBER = {"description": "By which the answer is known.", "type": ["integer", "string"], "maxLength": MAX_ID}


@cache
def document() -> JsonDict:
    """As served at /asyncapi.json."""
    told: JsonDict = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    told["info"]["version"] = __version__
    parts = told["components"]
    schemas = parts["schemas"]
    schemas["Label"]["enum"], schemas["Code"]["enum"] = list(LABELS), list(CODES)
    for name, (fields, required) in SENT.items():
        schemas[name] = _sent(fields, required)
    parts["messages"], told["operations"] = {}, {}
    directions = {"receive": (*SENT, "ping"), "send": (*RESULTS, "ack", "pong")}
    for channel, is_door in (("stream", True), ("socketio", False)):
        told["channels"][channel]["messages"] = {}
        for action, names in directions.items():
            names = names if is_door else tuple(name for name in names if name not in ("ping", "pong"))
            for name in names:
                message = f"{channel}.{name}"
                schema = {"$ref": f"#/components/schemas/{name}"}
                if is_door:
                    schema = {"$ref": f"#/components/schemas/{_of_door(schemas, name)}"}
                parts["messages"][message] = {"name": name, "payload": schema}
                told["channels"][channel]["messages"][name] = {"$ref": f"#/components/messages/{message}"}
            told["operations"][f"{channel}.{action}"] = {
                "action": action,
                "channel": {"$ref": f"#/channels/{channel}"},
                "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names],
            }
    return told


def _sent(fields: JsonDict, required: tuple[str, ...]) -> JsonDict:
    properties: JsonDict = {
        name: {"type": _TYPES[kind]} if isinstance(kind, type) else {"type": "string", "format": "base64"}
        for name, kind in fields.items()
    }
    if "encoding" in properties:
        properties["encoding"]["enum"] = list(ENCODINGS)
    if "tags" in properties:
        properties["tags"]["additionalProperties"] = {"type": "string"}
    if "present" in properties:
        properties["present"]["additionalProperties"] = {"$ref": "#/components/schemas/Probability"}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": properties,
    }


def _of_door(schemas: JsonDict, name: str) -> str:
    """The same object as a message of the plain WebSocket, which says by itself what it is."""
    schema: JsonDict = copy.deepcopy(
        schemas.get(name) or {"type": "object", "additionalProperties": False, "properties": {}}
    )
    for kind in schema.get("oneOf", [schema]):
        properties, required = kind["properties"], kind.setdefault("required", [])
        properties["type"] = {"const": name}
        required.extend(() if name == "start" else ("type",))
        if name in SENT or name == "ack":
            properties["id"] = _NUMBER
        if name == "start":
            properties["token"] = {"type": "string"}
        if name == "ack":
            properties["to"] = {"type": "string", "description": "The name of what it answers."}
            required.append("to")
    schemas[f"{name}_message"] = schema
    return f"{name}_message"


def add_asyncapi_route(app: Flask) -> None:
    @app.get("/asyncapi.json")
    def asyncapi() -> Response:
        return jsonify(document())
