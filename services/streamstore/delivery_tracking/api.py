"""The HTTP interface of delivery tracking."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from fastapi import FastAPI, HTTPException, Query
from pydantic import BaseModel, Field

from streamstore import web
from streamstore.delivery_tracking import NAME
from streamstore.delivery_tracking.locations import MAX_TIME, Location
from streamstore.delivery_tracking.tracking import Tracking
from streamstore.publisher import Publisher
from streamstore.web import Name
from streamstore.web.docs import add_docs

MAX_LOCATIONS = 1000  # a request
MAX_BODY = 256 * MAX_LOCATIONS
MAX_HISTORY = 10_000


class LocationBody(BaseModel):
    """A courier's position; `at` is in milliseconds since 1970, and now by default."""

    courier: Name
    latitude: Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
    longitude: Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]
    at: Annotated[int, Field(ge=0, le=MAX_TIME)] | None = None


def create_app(tracking: Tracking, architecture: str, publisher: Publisher | None = None) -> FastAPI:
    """The application. In the events architecture 202 means that the broker has acknowledged every position."""
    app = web.create(NAME, architecture, MAX_BODY, publisher)

    @app.post("/locations", status_code=202)
    async def post_locations(
        locations: Annotated[list[LocationBody], Field(min_length=1, max_length=MAX_LOCATIONS)],
    ) -> dict[str, int]:
        now = int(time.time() * 1000)
        await tracking.accept(
            [
                Location(body.courier, body.latitude, body.longitude, now if body.at is None else body.at)
                for body in locations
            ]
        )
        return {"accepted": len(locations)}

    @app.get("/couriers")
    def get_couriers() -> list[dict[str, Any]]:
        return _as_json(tracking.couriers())

    @app.get("/couriers/{courier}")
    def get_courier(courier: str) -> dict[str, Any]:
        location = tracking.courier(courier)
        if location is None:
            raise HTTPException(404, "no such courier")
        return msgspec.structs.asdict(location)

    @app.get("/couriers/{courier}/history")
    def get_history(
        courier: str, limit: Annotated[int, Query(ge=1, le=MAX_HISTORY)] = 100
    ) -> list[dict[str, Any]]:
        return _as_json(tracking.history(courier, limit))

    add_docs(app)
    return app


def _as_json(locations: Sequence[Location]) -> list[dict[str, Any]]:
    return [msgspec.structs.asdict(location) for location in locations]
