"""Numbers for reading: the same forms on every page and in every table. Pure."""

from __future__ import annotations

import math

THIN_SPACE = "\u2009"


def number(value: float) -> str:
    """For an axis: short, with a thin space between thousands."""
    if value >= 10 or value == int(value):
        return count(value)
    return f"{value:.2g}"


def count(value: float) -> str:
    """Without decimals, a thin space between thousands."""
    return f"{value:,.0f}".replace(",", THIN_SPACE)


def significant(value: float, digits: int = 3) -> str:
    """At least so many digits that mean something, never an exponent: 0.0417, 1.30, 12.4, 412 000."""
    if value == 0:
        return "0"
    first = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))  # after rounding: 9.996 is 10.0
    decimals = digits - 1 - first
    return f"{round(value, decimals):,.{max(0, decimals)}f}".replace(",", THIN_SPACE)
