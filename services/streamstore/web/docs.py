"""An OpenAPI page that needs no other host: Swagger UI from the package `swagger-ui-bundle`.

Its Swagger UI 4 reads OpenAPI 3.0, while FastAPI writes 3.1: the document is translated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import swagger_ui_bundle  # type: ignore[import-untyped]  # it ships no types
from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

STATIC = "/docs/static"
REF = "#/components/schemas/{model}"


def add_docs(app: FastAPI, bodies: Sequence[type[BaseModel]] = ()) -> None:
    """Serve the page at /docs. `bodies`: models that routes refer to in `openapi_extra`, by `ref_to`."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            _, models = models_json_schema([(body, "validation") for body in bodies], ref_template=REF)
            found.setdefault("components", {}).setdefault("schemas", {}).update(models.get("$defs", {}))
            app.openapi_schema = as_openapi_30(found)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    app.mount(STATIC, StaticFiles(directory=swagger_ui_bundle.swagger_ui_path), name="docs-static")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url=app.openapi_url or "",
            title=app.title,
            swagger_js_url=f"{STATIC}/swagger-ui-bundle.js",
            swagger_css_url=f"{STATIC}/swagger-ui.css",
            swagger_favicon_url=f"{STATIC}/favicon-32x32.png",
            swagger_ui_parameters={"validatorUrl": None},  # else it may send the document to another host
        )


def ref_to(model: type[BaseModel]) -> dict[str, str]:
    """The schema of a model, by reference."""
    return {"$ref": REF.format(model=model.__name__)}


def as_openapi_30(document: dict[str, Any]) -> dict[str, Any]:
    """A document of OpenAPI 3.1 as one of 3.0, as far as FastAPI and pydantic use what differs."""
    translated: dict[str, Any] = _translated(document)
    return {**translated, "openapi": "3.0.3"}


def _translated(node: Any) -> Any:
    if isinstance(node, list):
        return [_translated(item) for item in node]
    if not isinstance(node, dict):
        return node
    schema = {name: _translated(value) for name, value in node.items()}
    match schema.get("anyOf"):
        case [one, {"type": "null"}]:  # an optional value
            del schema["anyOf"]
            schema |= {"allOf": [one]} if "$ref" in one else one
            schema["nullable"] = True
    match schema.get("examples"):
        case [example, *_]:
            del schema["examples"]
            schema["example"] = example
    for bound, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(schema.get(bound), int | float) and not isinstance(schema[bound], bool):
            schema[limit] = schema[bound]
            schema[bound] = True
    return schema
