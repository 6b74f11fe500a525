"""Reports as one HTML page that needs nothing else: each extends base.html.jinja. Only templates are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2

BASE = Path(__file__).parent


def render(template: Path, filters: Mapping[str, Callable[..., str]], **values: object) -> str:
    """The page. A name that the template uses and `values` lack raises jinja2.UndefinedError."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, BASE]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    all_filters: dict[str, Any] = environment.filters
    all_filters.update(filters)
    return environment.get_template(template.name).render(**values)
