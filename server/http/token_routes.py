"""`POST /api/v1/tokens`: a short-lived token for a browser, for whoever has a key (`server.access.tokens`)."""

from __future__ import annotations

from flask import Flask, Response, jsonify, request
from pydantic import ValidationError

from server.access.auth import Access
from server.access.tokens import TokenRequest
from server.errors import ClientError

PATH = "/api/v1/tokens"
MOST_BYTES = 4096


def add_token_routes(app: Flask, access: Access) -> None:
    """Adds the routes of this module."""

    @app.post(PATH)
    def make_token() -> Response:
        identity = access.identify(request.environ, None)
        request.max_content_length = MOST_BYTES
        try:
            wanted = TokenRequest.model_validate_json(request.get_data() or b"{}")
        except ValidationError as wrong:
            first = wrong.errors()[0]
            field = ".".join(map(str, first["loc"])) or "JSON"
            raise ClientError("BAD_REQUEST", f"the token cannot be made: {field}: {first['msg']}") from None
        token, scopes = access.new_token(identity, wanted)
        return jsonify(success=True, token=token, expires_in_s=wanted.ttl_s, scopes=scopes)
