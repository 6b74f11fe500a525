"""The dashboard's page in Debian's Chromium, on a real shop."""

from __future__ import annotations

import json
import re
import sqlite3
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from streamstore.app import CONSUMERS

SECONDS = 60
WIDTHS = (1400, 1024, 768, 360)


class Window:
    """A page of a browser profile of its own, what it complained of, and what it asked for."""

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        expect.set_options(timeout=SECONDS * 1000)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._context = browser.new_context(viewport={"width": 1400, "height": 900}, **options)
        self.page = self._context.new_page()
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(url)
        expect(self.page.locator("#connection")).to_have_text("live")

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def close(self) -> None:
        self._context.close()


@pytest.fixture
def window(chromium: Browser, shared_up: Any) -> Iterator[Callable[..., Window]]:
    """Opens the shared shop's page. All that a page asks for is on its own server, and none complains."""
    opened: list[Window] = []

    def open_window(**options: Any) -> Window:
        opened.append(Window(chromium, shared_up.url, **options))
        return opened[-1]

    yield open_window
    for one in opened:
        one.close()
        assert one.complaints == []
        assert [url for url in one.requests if not url.startswith(f"{shared_up.url}/")] == []


@pytest.fixture
def page(window: Callable[..., Window]) -> Page:
    return window().page


def _until(page: Page, condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"never came true: {what}"
        page.wait_for_timeout(50)


def _post(url: str, body: object) -> dict[str, Any]:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        reply: dict[str, Any] = json.load(answer)
    return reply


def _order(up: Any, country: str = "United Kingdom", price: str = "2.55", quantity: int = 6) -> str:
    """Places an order; its number."""
    line = {"stock_code": "85123A", "description": "LANTERN", "quantity": quantity, "unit_price": price}
    body = {"customer": "17850", "country": country, "lines": [line]}
    return str(_post(f"{_orders(up)}/orders", body)["id"])


def _orders(up: Any) -> str:
    return f"http://127.0.0.1:{up.shop.settings.port_of('order')}"


def _rows(up: Any, database: str, query: str) -> list[Any]:
    """What a database says, read without the shop's code."""
    path = up.shop.settings.data_dir / f"{database}.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute(query).fetchall()


def _handled(up: Any, service: str) -> int:
    count = f"SELECT count(*) FROM {service}_handled"  # noqa: S608 - a name of this file
    try:
        return int(_rows(up, service, count)[0][0])
    except sqlite3.OperationalError:  # a service that has just come up may not have made its tables
        return 0


def _service(page: Page, name: str) -> Locator:
    return page.locator(f"#service-{name}")


def _owned(page: Page, topic: str, instance: str) -> Locator:
    matrix = page.locator("table.matrix", has_text=topic)
    return matrix.locator(f'td[data-owner="{instance}"]')


def test_the_numbers_on_the_page_are_those_of_the_databases(shared_up: Any, page: Page) -> None:
    up = shared_up
    before = {name: _handled(up, name) for name in CONSUMERS}
    for number in range(12):
        placed = _order(up, ("France", "EIRE", "Norway")[number % 3], f"{number}.125", number + 1)
    _post(f"{_orders(up)}/orders/{placed}/cancel", {})
    for name in CONSUMERS:
        _until(page, lambda name=name: _handled(up, name) == before[name] + 13, f"{name} has handled all")

    sales = _rows(up, "analytics", "SELECT country, revenue FROM analytics_sales")
    by_country: dict[str, Decimal] = {}
    for country, total in sales:
        by_country[country] = by_country.get(country, Decimal(0)) + Decimal(total)
    invoiced = [Decimal(total) for (total,) in _rows(up, "billing", "SELECT total FROM billing_documents")]
    assert sum(invoiced) == sum(by_country.values())
    assert len(invoiced) == len(sales)

    expect(page.locator("#orders-accepted")).to_have_text(f"{len(sales):,}")
    expect(page.locator("#revenue-total")).to_have_text(f"{sum(invoiced):,}")
    expect(page.locator("#dead-letters")).to_have_text("0")
    expect(page.locator("#lag-total")).to_have_text("0")
    for name in CONSUMERS:
        expect(_service(page, name).locator(".handled .value")).to_have_text(f"{_handled(up, name):,}")
    page.locator("#countries-table summary").click()
    for country, amount in by_country.items():
        expect(page.locator("#countries-table tr", has_text=country)).to_have_text(f"{country}{amount:,}")
    expect(page.locator("#countries-table tbody tr")).to_have_count(len(by_country))
    assert page.locator("#countries rect").count() == len(by_country)


def test_a_recent_invoice_opens(shared_up: Any, page: Page) -> None:
    number = _order(shared_up, price="0.001", quantity=3)

    page.locator("#invoices a", has_text=number).click()

    expect(page).to_have_url(f"{shared_up.url}/invoices/{number}")
    expect(page.locator("body")).to_contain_text(number)


def test_a_killed_instance_is_counted_and_started_again(shared_up: Any, page: Page) -> None:
    row = _service(page, "notification")
    pid = row.locator(".instances .pid")
    expect(pid).to_have_text(re.compile(r"pid \d+"))
    killed = pid.text_content()
    restarts = shared_up.service("notification")["restarts"]
    expect(row.locator(".restarts .value")).to_have_text(str(restarts))

    row.get_by_role("button", name="Kill one instance of notification").click()

    expect(row.locator(".restarts .value")).to_have_text(str(restarts + 1))
    expect(pid).to_have_text(re.compile(rf"^(?!{killed}$)pid \d+$"))
    expect(row.locator(".status")).to_have_text("up")
    instance = shared_up.service("notification")["instances"][0]
    assert instance["up"]
    assert f"pid {instance['pid']}" != killed


def test_a_service_is_stopped_and_catches_up_when_it_is_started(shared_up: Any, page: Page) -> None:
    row = _service(page, "analytics")
    stop, start = (row.get_by_role("button", name=f"{word} analytics") for word in ("Stop", "Start"))
    expect(start).to_have_attribute("aria-disabled", "true")
    pid = shared_up.service("analytics")["instances"][0]["pid"]

    stop.press("Enter")

    expect(stop).to_be_focused()  # whoever has no mouse goes on from there
    expect(row.locator(".status")).to_have_text("stopped")
    _until(page, lambda: not Path(f"/proc/{pid}").exists(), "the process has ended")
    handled = _handled(shared_up, "analytics")
    _order(shared_up)
    expect(row.locator(".lag .value")).to_have_text("1")
    assert _handled(shared_up, "analytics") == handled

    start.press("Enter")

    expect(row.locator(".status")).to_have_text("up")
    expect(row.locator(".handled .value")).to_have_text(f"{handled + 1:,}")
    expect(row.locator(".lag .value")).to_have_text("0")
    expect(start).to_have_attribute("aria-disabled", "true")


def test_another_instance_takes_its_share_of_the_partitions(shared_up: Any, page: Page) -> None:
    row = _service(page, "billing")
    expect(_owned(page, "order-events", "billing-1")).to_have_count(4)

    row.get_by_role("button", name="+ one instance of billing").click()

    expect(_owned(page, "order-events", "billing-1")).to_have_count(2)
    expect(_owned(page, "order-events", "billing-2")).to_have_count(2)
    expect(row.locator(".instances li")).to_have_count(2)
    expect(row.locator(".count")).to_have_text("2")
    expect(_owned(page, "order-events", "inventory-1")).to_have_count(4)

    row.get_by_role("button", name="\N{MINUS SIGN} one instance of billing").click()

    expect(_owned(page, "order-events", "billing-1")).to_have_count(4)
    expect(row.locator(".count")).to_have_text("1")


def test_what_is_said_in_one_window_is_read_in_another_and_is_not_markup(
    shared_up: Any, window: Callable[..., Window]
) -> None:
    one, other = window().page, window().page
    channel = f"c-{uuid.uuid4().hex[:8]}"
    for page in (one, other):
        page.get_by_label("Channel").fill(channel)
        page.get_by_role("button", name="Open").click()
        expect(page.locator("#chat-status")).to_have_text(f"live in #{channel}")
    texts = [f'<b>{n}</b> <img src="/static/icon.svg?{n}" onload="document.title = 1">' for n in range(12)]

    for text in texts:
        one.get_by_role("textbox", name="Message").fill(text)
        one.get_by_role("button", name="Send").click()
        expect(one.locator("#chat-messages p", has_text=text)).to_have_count(1)

    for page in (one, other):
        expect(page.locator("#chat-messages p")).to_have_text(texts)
        assert page.locator("#chat-messages :is(img, b)").count() == 0
        expect(page).to_have_title("StreamStore")
    late = window().page
    late.get_by_label("Channel").fill(channel)
    late.get_by_role("button", name="Open").click()
    expect(late.locator("#chat-messages p")).to_have_text(texts)
    said = f"SELECT text FROM chat_history WHERE channel = '{channel}' ORDER BY \"offset\""  # noqa: S608 - our own
    _until(one, lambda: [text for (text,) in _rows(shared_up, "chat", said)] == texts, "all is stored")


def test_a_courier_moves_on_the_map(shared_up: Any, page: Page) -> None:
    url = f"http://127.0.0.1:{shared_up.shop.settings.port_of('delivery_tracking')}/locations"
    depot, rider = (page.locator(f'[data-courier="{name}"]') for name in ("depot", "rider"))

    def ride(latitude: float, longitude: float) -> None:
        at = {"courier": "rider", "latitude": latitude, "longitude": longitude}
        _post(url, [at, {"courier": "depot", "latitude": 51.5, "longitude": -0.1}])

    def offset() -> tuple[float, float]:
        """Pixels to the right of the depot, and below it; without the animation that leads there."""
        x, y = (
            [float(n) for n in re.findall(r"(-?[\d.]+)px", dot.get_attribute("style") or "")]
            for dot in (rider, depot)
        )
        return x[0] - y[0], x[1] - y[1]

    ride(51.51, -0.08)
    expect(rider).to_have_count(1)
    _until(page, lambda: offset()[0] > 20 and offset()[1] < -20, "it is north-east of the depot")

    ride(51.49, -0.12)
    _until(page, lambda: offset()[0] < -20 and offset()[1] > 20, "it is south-west of the depot")

    expect(rider.locator("text")).to_have_text("rider")
    page.locator("#couriers-table summary").click()
    expect(page.locator("#couriers-table tr", has_text="rider")).to_contain_text("51.49000-0.12000")


def test_the_page_is_light_or_dark_as_its_reader_prefers(window: Callable[..., Window]) -> None:
    page = window(color_scheme="light").page

    def brightness(element: str, what: str) -> int:
        colour = page.locator(element).first.evaluate(f"element => getComputedStyle(element).{what}")
        return sum(int(part) for part in re.findall(r"\d+", colour)[:3])

    for element in ("body", ".panel"):
        assert brightness(element, "backgroundColor") > 650
        assert brightness(element, "color") < 200
    page.emulate_media(color_scheme="dark")
    for element in ("body", ".panel"):
        assert brightness(element, "backgroundColor") < 120
        assert brightness(element, "color") > 600


def test_all_text_stands_out_from_what_is_behind_it(shared_up: Any, page: Page) -> None:
    _order(shared_up)
    expect(page.locator("#countries rect").first).to_be_visible()
    contrast = Path(__file__).with_name("contrast.js").read_text()

    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for connection in ("live", "stale"):
            page.evaluate("to => { document.body.dataset.connection = to; }", connection)
            assert page.evaluate(contrast) == [], f"{scheme}, {connection}"


def test_nothing_is_wider_than_the_screen(shared_up: Any, page: Page) -> None:
    number = _order(shared_up, price="123456789.123", country="A" * 60)
    expect(page.locator("#invoices a", has_text=number)).to_have_count(1)
    _post(f"{_orders(shared_up)}/orders/{number}/cancel", {})

    def too_wide() -> Any:
        return page.evaluate("""() => [document.documentElement, ...document.querySelectorAll(".panel")]
            .filter((element) => element.scrollWidth > element.clientWidth)
            .map((element) => element.className || element.tagName)""")

    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        _until(page, lambda: too_wide() == [], f"at {width} px nothing overflows")


def test_the_page_runs_no_script_but_its_servers_own(window: Callable[..., Window]) -> None:
    opened = window()
    assert {url.rpartition("/")[2] for url in opened.requests} >= {"app.js", "style.css", "state"}

    ran = opened.page.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "window.smuggled = true";
        document.head.append(script);
        return window.smuggled === true;
    }""")

    assert not ran
    _until(opened.page, lambda: opened.complaints, "the browser says so")
    assert all("Content Security Policy" in complaint for complaint in opened.complaints)
    opened.complaints.clear()


def test_without_a_log_the_page_says_what_there_is_instead(
    start_up: Callable[..., Any], chromium: Browser
) -> None:
    up = start_up("--architecture", "synchronous")
    _order(up)
    with closing(Window(chromium, up.url)) as opened:
        page = opened.page

        expect(page.locator("#architecture")).to_have_text("synchronous")
        expect(page.locator("#orders-accepted")).to_have_text("1")
        expect(page.locator("#revenue-total")).to_have_text("15.30")
        expect(page.locator("#partitions-none")).to_contain_text("the customer waits")
        expect(page.locator("#lag-total")).to_have_text("\N{EN DASH}")
        assert opened.complaints == []


def test_figures_lose_their_colour_when_nobody_answers(
    start_up: Callable[..., Any], chromium: Browser
) -> None:
    up = start_up()
    with closing(Window(chromium, up.url)) as opened:
        page = opened.page
        figure = page.locator("#orders-accepted")
        live = figure.evaluate("element => getComputedStyle(element).color")

        assert up.end() == 0

        expect(page.locator("#connection")).to_have_text("no answer")
        expect(page.locator("#stale")).to_be_visible()
        expect(page.locator("#stale-since")).to_contain_text("The dashboard's server has not answered for")
        expect(figure).not_to_have_css("color", live)
        expect(figure).to_have_text("0")

        row = _service(page, "billing")
        row.locator('button[aria-disabled="false"]').first.click()
        expect(row.locator(".answer")).to_have_text(
            re.compile("billing: the dashboard's server does not answer$")
        )
