"""docs/configuration.md lists exactly the table of properties. To write it anew: python <this file>."""

from __future__ import annotations

import re
from pathlib import Path

from streamadapter.property_table import PROPERTIES, SASL, Property

DOC = Path(__file__).parents[2] / "docs" / "configuration.md"
HEADINGS = {
    ("honoured", "*"): "Every client",
    ("honoured", "P"): "Producers",
    ("honoured", "C"): "Consumers",
}


def code(text: object) -> str:
    return f"`{text}`"


def allowed(prop: Property) -> str:
    if prop.choices:
        return ", ".join(map(code, (*prop.choices, *dict(prop.synonyms))))
    if prop.low is not None:
        return "".join(f"`{name}`, " for name, _ in prop.synonyms) + f"{prop.low} to {prop.high}"
    return {"bool": "`true`, `false`", "callback": "a callable"}.get(prop.kind, "a string")


def default(prop: Property) -> str:
    if prop.default is None:
        return ""
    if isinstance(prop.default, bool):
        return code(str(prop.default).lower())
    if isinstance(prop.default, float):
        return code(f"{prop.default:g}")
    return code(",".join(prop.default) if isinstance(prop.default, tuple) else prop.default)


def names(prop: Property) -> str:
    return ", ".join(map(code, (prop.name, *prop.aliases)))


def tables() -> str:
    lines = ["## Properties", ""]
    for (support, roles), heading in HEADINGS.items():
        lines += [f"### {heading}", "", "| property | values | default | meaning |", "|---|---|---|---|"]
        lines += [
            f"| {names(prop)} | {allowed(prop)} | {default(prop)} | {prop.note} |"
            for prop in PROPERTIES
            if (prop.support, prop.roles) == (support, roles)
        ]
        lines.append("")
    hints = [prop for prop in PROPERTIES if prop.support == "hint"]
    lines += [
        "### Accepted, without effect",
        "",
        "They tune librdkafka's insides, which are not there. Values are checked all the same.",
        "",
        "| property | instead |",
        "|---|---|",
        *(f"| {names(prop)} | {prop.note} |" for prop in hints if prop.note),
        "",
        "Also: " + ", ".join(names(prop) for prop in hints if not prop.note) + ".",
        "",
        "### Refused",
        "",
        "On Redis, Valkey, the embedded server and `memory://`; a value that is the default is accepted.",
        "",
        "| property | why |",
        "|---|---|",
        *(
            f"| {names(prop)} | {prop.note} |"
            for prop in (*PROPERTIES, SASL)
            if prop.support == "unsupported"
        ),
        "",
    ]
    return "\n".join(lines)


def with_tables(document: str) -> str:
    return re.sub(
        r"^## Properties\n.*?(?=^## |\Z)", lambda _: tables(), document, flags=re.MULTILINE | re.DOTALL
    )


def test_the_documentation_lists_the_table_of_properties() -> None:
    document = DOC.read_text()
    assert document == with_tables(document), f"run: python {Path(__file__).name}"


if __name__ == "__main__":
    DOC.write_text(with_tables(DOC.read_text()))
