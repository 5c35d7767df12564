"""The OpenAPI 3.1 document of a table of endpoints."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec

from protocols.ledger import Message
from service import requests
from service.bodies import JSON, MSGPACK
from service.endpoints import PARAMETERS, Endpoint
from service.errors import STATUS, Failure

_REF = "#/components/schemas/{name}"
_SIGNATURE = "Ed25519 over the request's head, under the manifest; service/requests.py says what of it is covered."


def document(endpoints: Sequence[Endpoint], title: str, version: str) -> dict[str, Any]:
    """The document, ready for JSON. Answers that say no are declared for every endpoint alike."""
    kinds = [kind for e in endpoints for kind in (e.request, e.response) if kind is not None and kind is not bytes]
    unique = list(dict.fromkeys([*kinds, Failure]))
    references, schemas = msgspec.json.schema_components(unique, ref_template=_REF)
    by_kind = dict(zip(unique, references, strict=True))
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for endpoint in endpoints:
        paths[endpoint.template][endpoint.method.lower()] = _operation(endpoint, by_kind)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": dict(paths),
        "components": {
            "schemas": _with_base64(schemas),
            "responses": _failures(by_kind[Failure]),
            "securitySchemes": {
                "signature": {
                    "type": "apiKey",
                    "in": "header",
                    "name": requests.SIGNATURE,
                    "description": _SIGNATURE,
                }
            },
        },
    }


def _operation(endpoint: Endpoint, by_kind: dict[type, dict[str, Any]]) -> dict[str, Any]:
    operation: dict[str, Any] = {"summary": endpoint.summary, "parameters": _parameters(endpoint), "responses": {}}
    if "client" not in endpoint.callers:
        operation["security"] = [{"signature": []}]
        operation["description"] = f"For parties only: {', '.join(sorted(endpoint.callers))}."
    if endpoint.request is not None:
        operation["requestBody"] = {"required": True, "content": _content(endpoint.request, by_kind)}
    if endpoint.response is None:
        operation["responses"]["204"] = {"description": "Done"}
    else:
        operation["responses"]["200"] = {"description": "Done", "content": _content(endpoint.response, by_kind)}
    for status in _failure_statuses():
        operation["responses"][status] = {"$ref": f"#/components/responses/{status}"}
    return operation


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    inside = [
        {"name": name, "in": "path", "required": True, "schema": PARAMETERS[kind]} for name, kind in endpoint.parameters
    ]
    if endpoint.query is None:
        return inside
    schema = msgspec.json.schema_components([endpoint.query], ref_template=_REF)[1][endpoint.query.__name__]
    return inside + [
        {"name": name, "in": "query", "required": name in schema.get("required", []), "schema": field}
        for name, field in schema["properties"].items()
    ]


def _content(kind: type[Message] | type[bytes], by_kind: dict[type, dict[str, Any]]) -> dict[str, Any]:
    if kind is bytes:
        return {MSGPACK: {"schema": {"type": "string", "format": "binary"}}}
    return {JSON: {"schema": by_kind[kind]}, MSGPACK: {"schema": by_kind[kind]}}


def _failure_statuses() -> list[str]:
    return sorted({str(status) for status in STATUS.values()} | {"500"})


def _failures(failure: dict[str, Any]) -> dict[str, Any]:
    names: dict[str, list[str]] = defaultdict(list)
    for kind, status in STATUS.items():
        names[str(status)].append(kind.__name__)
    names["500"].append("ServerFault")
    return {
        status: {
            "description": f"Refused: {', '.join(names[status])}",
            "content": {JSON: {"schema": failure}, MSGPACK: {"schema": failure}},
        }
        for status in _failure_statuses()
    }


def _with_base64(schema: Any) -> Any:
    """Bytes named as base64 in both ways: OpenAPI 3.1's contentEncoding, and the format that most tools know.

    Where a pattern says more already, it stands alone: tools make strings of a format, or of a pattern and a length.
    """
    if isinstance(schema, list):
        return [_with_base64(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    named = {name: _with_base64(part) for name, part in schema.items()}
    return named | {"format": "byte"} if named.get("contentEncoding") == "base64" and "pattern" not in named else named
