"""The page of a run: all of it, from the document alone, in a browser without a network."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from bench.page import CHAPTERS, head, page
from bench.plots import title
from bench.results import Results
from bench.targets import rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

VOID = {"meta", "br", "link"}
CONTRAST = Path(__file__).parents[1] / "services" / "contrast.js"


class Balance(HTMLParser):
    """Tags that are open, and what there was of ids, of targets of links and of pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.pictures: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.ids += [value for name, value in attributes if name == "id" and value]
        self.links += [value for name, value in attributes if name == "href" and value]
        if tag == "svg":
            self.pictures.append(found)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """<line/> and its like open nothing."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(text: str) -> Balance:
    parser = Balance()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids))
    return parser


def test_the_page_is_whole_and_has_every_chapter_and_every_target(made_up: Any) -> None:
    text = page(made_up.to_json())

    assert set(parsed(text).ids) == {"targets", *(chapter.id for chapter in CHAPTERS)}
    for row in rows(made_up):
        assert row.name.replace("'", "&#39;") in text
        assert row.shown in text


def test_the_page_asks_for_nothing_from_elsewhere(made_up: Any) -> None:
    text = page(made_up.to_json())

    assert re.findall(r"""(?:src|href)=["'](?!#)[^"']*""", text) == []
    assert "@import" not in text
    assert "url(" not in text


def test_a_run_of_one_chapter_makes_a_page_without_the_others(made_up: Any) -> None:
    document = made_up.to_json()
    document["cases"] = [case for case in document["cases"] if case["chapter"] == "startup"]

    text = page(document)

    found = parsed(text)
    assert set(found.ids) == {"targets", "startup"}
    assert {link.removeprefix("#") for link in found.links} <= set(found.ids)
    assert "not measured" in text


def test_every_picture_says_in_words_what_it_shows(made_up: Any) -> None:
    pictures = parsed(page(made_up.to_json())).pictures

    assert {picture["role"] for picture in pictures} == {"img"}
    labels = [picture["aria-label"] or "" for picture in pictures]
    assert all(re.search(r": \S+.* \d", label) for label in labels), labels
    assert len(labels) == len(set(labels))


def test_a_case_that_failed_in_every_round_is_named_and_draws_nothing() -> None:
    note = "startup/import/x gave no figures"
    document = Results({"machine": {}, "versions": {}, "options": {}, "notes": [note]}).to_json()
    case = {
        "id": "startup/import/x",
        "chapter": "startup",
        "name": "import",
        "subject": "x",
        "server": "none",
    }
    document["cases"] = [case | {"arguments": {}, "rounds": [{}, {}], "median": {}}]

    text = page(document)

    assert note in text
    assert parsed(text).pictures == []
    assert "0 of 2" in text


def test_a_figure_of_the_document_is_in_the_plot_and_in_the_table(made_up: Any) -> None:
    document = made_up.to_json()
    (case,) = [case for case in document["cases"] if case["id"] == "startup/import/streamadapter"]
    case["median"]["ms"] = 77_777.0

    text = page(document)

    assert '<text class="value"' in text
    assert (
        re.search(r'<text class="value"[^>]*>77\u2009777</text>', text) is None
    )  # three digits mean something
    assert re.search(r'<text class="value"[^>]*>77\u2009800</text>', text)
    assert "<td>77\u2009800<small>" in text


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("callback-64-partitions", "produce() with a delivery callback, 64 partitions"),
        ("json-zstd", "JSON orders, zstd"),
        ("20000-linger5", "20\u2009000 records/s, linger.ms 5"),
        ("one-by-one", "one by one"),
    ],
)
def test_names_of_cases_are_headings(name: str, read: str) -> None:
    assert title(name) == read


@pytest.mark.parametrize(
    ("figure", "read"),
    [("p999_ms", "p99.9, ms"), ("ms", "ms"), ("join_ms", "join, ms"), ("memory_gb", "memory, GB")],
)
def test_figures_are_headed_by_their_name_and_unit(figure: str, read: str) -> None:
    assert head(figure) == read


@pytest.fixture
def window(chromium: Browser, made_up: Any, tmp_path: Path) -> Iterator[Callable[[int], Page]]:
    """Opens the page from its file, so wide, without a network. It complains of nothing and asks for nothing."""
    path = tmp_path / "report.html"
    path.write_text(page(made_up.to_json()), encoding="utf-8")
    context = chromium.new_context(offline=True)
    complaints: list[str] = []
    asked: list[str] = []

    def opened(width: int) -> Page:
        tab = context.new_page()
        tab.set_viewport_size({"width": width, "height": 900})
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(path.as_uri())
        tab.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        return tab

    yield opened
    context.close()
    assert complaints == []
    assert set(asked) <= {path.as_uri()}


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_its_screen_and_no_text_of_a_plot_is_cut_off(
    window: Callable[[int], Page], width: int
) -> None:
    tab = window(width)

    assert tab.evaluate("document.documentElement.scrollWidth") == width
    cut = """() => [...document.querySelectorAll("svg text")].filter(text => {
      const [inner, outer] = [text, text.ownerSVGElement].map(element => element.getBoundingClientRect());
      return inner.left < outer.left - 1 || inner.right > outer.right + 1;
    }).map(text => text.textContent)"""
    assert tab.evaluate(cut) == []


def test_the_verdicts_need_no_scrolling_on_a_telephone(window: Callable[[int], Page]) -> None:
    card = window(390).locator(".verdicts").locator("..")

    assert card.evaluate("card => card.scrollWidth - card.clientWidth") == 0


def test_all_text_stands_out_from_what_is_behind_it(window: Callable[[int], Page]) -> None:
    tab = window(1280)
    for scheme in ("light", "dark"):
        tab.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # a literal
        assert tab.evaluate(CONTRAST.read_text()) == [], scheme
