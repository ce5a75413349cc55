"""The interface as an OpenAPI 3.1 document.

``python -m crossan.train.service.web.openapi > docs/openapi.json`` writes it anew. A difference
in a review is a change of the interface.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.routing import Route

from crossan.train.service.server import Service
from crossan.train.service.settings import ServiceSettings
from crossan.train.service.web.app import build_app
from crossan.train.service.web.roles import role_of
from crossan.train.service.web.views import ERRORS, ErrorView

__all__ = ["document", "text"]

_DESCRIPTION = (
    "Every request carries a token: `Authorization: Bearer TOKEN`. A token has a role: read, submit"
    " or admin, each of which includes the ones before it; `x-crossan-role` says which a route"
    ' needs. Every error is `{"error": {"message", "remedy", "field"?}}`.'
)
_PYDANTICS = ("HTTPValidationError", "ValidationError")
"""Schemas of errors that no answer of ours has."""


def document(app: FastAPI) -> dict[str, Any]:
    """Return the document of an application that `build_app` made."""
    schema = app.openapi()
    schema["info"]["description"] = _DESCRIPTION
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    for name in _PYDANTICS:
        schemas.pop(name, None)
    error = ErrorView.model_json_schema(ref_template=_REFERENCE)
    schemas |= error.pop("$defs")
    schemas["ErrorView"] = error
    schema["components"]["responses"] = {
        str(status): {
            "description": answer["description"],
            "content": {"application/json": {"schema": _ERROR}},
        }
        for status, answer in ERRORS.items()
    }
    schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    schema["security"] = [{"token": []}]
    for route in app.routes:
        if isinstance(route, Route) and route.path in schema["paths"]:
            for method in route.methods or ():
                operation = schema["paths"][route.path].get(method.lower())
                if operation is not None:
                    _complete(operation, role_of(route.endpoint))
    return schema


def text() -> str:
    """Return the document as ``docs/openapi.json`` has it."""
    with tempfile.TemporaryDirectory() as folder:
        settings = ServiceSettings(roots=(folder,), cache=folder)
        service = Service(settings, Path(folder) / "service")
        try:
            schema = document(build_app(service))
        finally:
            service.stop()
    return json.dumps(schema, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


_REFERENCE = "#/components/schemas/{model}"
_ERROR = {"$ref": _REFERENCE.format(model="ErrorView")}


def _complete(operation: dict[str, Any], role: object) -> None:
    operation["x-crossan-role"] = str(role)
    responses = operation["responses"]
    for status in {*responses, *map(str, ERRORS)}:
        if int(status) >= 400:
            responses[status] = {"$ref": f"#/components/responses/{status}"}


if __name__ == "__main__":
    sys.stdout.write(text())
