"""The dashboard's HTTP interface: the page, the state, the controls, and the services behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from sqlalchemy.exc import SQLAlchemyError
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from streamstore import billing
from streamstore.dashboard import proxy
from streamstore.dashboard.guard import SameOriginOnly
from streamstore.dashboard.state import Databases
from streamstore.invoice import invoice_html
from streamstore.running.addresses import url_of
from streamstore.running.supervisor import NotPossibleError, Supervisor, UnknownServiceError
from streamstore.settings import Settings

STATIC = Path(__file__).with_name("static")
MAX_INSTANCES = 64
# The page needs this server only, and no script or style within its markup: what somebody smuggled into it would not
# run. In a foreign page's frame, its reader could be made to click on our buttons.
CONTENT_SECURITY = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
FORWARDED = {"chat": "chat", "tracking": "delivery_tracking"}  # first part of the path, and the service


def dashboard(
    settings: Settings, supervisor: Supervisor, databases: Databases, state: Callable[[], dict[str, Any]]
) -> ASGIApp:
    """The application. `state` is called by many threads and must not wait for anything."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with proxy.session() as app.state.client:
            yield

    app = FastAPI(title="StreamStore", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/")
    def page() -> Response:
        return FileResponse(STATIC / "index.html", headers={"Content-Security-Policy": CONTENT_SECURITY})

    @app.get("/favicon.ico")  # where browsers look when a page names none, as an invoice
    def icon() -> Response:
        return FileResponse(STATIC / "icon.svg")

    @app.get("/api/state")
    def api_state() -> Response:
        return Response(
            msgspec.json.encode(state()),
            media_type="application/json",
            headers={"Cache-Control": "no-store"},
        )

    @app.get("/invoices/{number}")
    def invoice(number: str) -> Response:
        try:
            page = invoice_html(databases.of(billing.NAME), number)
        except SQLAlchemyError as error:
            raise HTTPException(503, str(error).partition("\n")[0]) from None
        if page is None:
            raise HTTPException(404, f"no invoice {number}")
        return HTMLResponse(page)

    _add_controls(app, supervisor)
    for prefix, service in FORWARDED.items():
        _add_forwarding(app, prefix, url_of(service, settings))
    return SameOriginOnly(app, settings.host)


def _add_controls(app: FastAPI, supervisor: Supervisor) -> None:
    @app.exception_handler(UnknownServiceError)
    def unknown(_request: Request, error: Exception) -> Response:
        return JSONResponse({"detail": str(error)}, 404)

    @app.exception_handler(NotPossibleError)
    def not_possible(_request: Request, error: Exception) -> Response:
        return JSONResponse({"detail": str(error)}, 409)

    def count(name: str) -> dict[str, Any]:
        """How many instances there are or will be."""
        instances = next(s.instances for s in supervisor.statuses() if s.name == name)
        return {"name": name, "instances": sum(i.state != "stopped" for i in instances)}

    @app.post("/api/services/{name}/kill")
    def kill(name: str) -> dict[str, Any]:
        supervisor.kill(name)
        return count(name)

    @app.post("/api/services/{name}/stop")
    def stop(name: str) -> dict[str, Any]:
        supervisor.stop(name)
        return count(name)

    @app.post("/api/services/{name}/start")
    def start(name: str) -> dict[str, Any]:
        supervisor.start(name)
        return count(name)

    @app.post("/api/services/{name}/scale")
    def scale(name: str, instances: Annotated[int, Query(ge=0, le=MAX_INSTANCES)]) -> dict[str, Any]:
        supervisor.scale(name, instances)
        return count(name)


def _add_forwarding(app: FastAPI, prefix: str, base: str) -> None:
    @app.api_route(f"/{prefix}/{{path:path}}", methods=proxy.METHODS)
    async def forward(request: Request) -> Response:
        path = request.scope["raw_path"].decode("ascii").removeprefix(f"/{prefix}/")  # still escaped
        return await proxy.forward(request.app.state.client, request, base, path)
