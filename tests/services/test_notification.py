"""Confirmation mails in the outbox; by SMTP: test_smtp.py."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from email import message_from_bytes, policy

import pytest

from streamstore.database import Database, UnavailableError, handle
from streamstore.notification import METADATA, Notification, Outbox, confirmation, mail_name
from streamstore.orders import Line, Order
from streamstore.replaying.report import notification_figures
from streamstore.settings import Settings

ORDER = Order(
    "536365", "17850", "France", datetime(2010, 12, 1, 8, 26), (Line("71053", "CAFÉ £", 6, Decimal("2.550")),)
)
GUEST = Order("536366", None, "France", datetime(2010, 12, 1, 8, 26), ORDER.lines)


def test_an_order_with_a_customer_gets_one_mail_file(settings: Settings) -> None:
    database = Database(settings.database_url("notification"), METADATA)

    handle(database, Notification(settings), [ORDER, GUEST])

    (path,) = settings.outbox.iterdir()
    mail = message_from_bytes(path.read_bytes(), policy=policy.default)
    assert (mail["To"], mail["Subject"]) == ("customer-17850@streamstore.example", "Your order 536365")
    assert "6 x CAFÉ £ at 2.550" in mail.get_content()
    assert "Total: 15.300" in mail.get_content()
    events = {ORDER.event_id, GUEST.event_id}
    assert notification_figures(database, events) == {"sent": 1, "skipped_no_customer": 1}
    database.close()


def test_a_mail_written_by_a_process_that_died_before_its_mark_is_the_same_file_again(
    settings: Settings,
) -> None:
    database = Database(settings.database_url("notification"), METADATA)

    def killed_before_the_mark() -> None:
        with database.write() as connection:
            Notification(settings).apply(connection, [ORDER])
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        killed_before_the_mark()
    written = {path: path.read_bytes() for path in settings.outbox.iterdir()}

    handle(database, Notification(settings), [ORDER])

    assert {path: path.read_bytes() for path in settings.outbox.iterdir()} == written
    database.close()


@pytest.mark.parametrize("bad", ["../../etc/passwd", "a\r\nBcc: x@y", "\x00", "x" * 300, "é/\\:"])
def test_no_field_of_an_order_escapes_the_outbox_or_the_header(settings: Settings, bad: str) -> None:
    order = Order(bad, bad, bad, datetime(2010, 12, 1), (Line(bad, bad, 1, Decimal(1)),))

    database = Database(settings.database_url("notification"), METADATA)
    handle(database, Notification(settings), [order])

    (path,) = settings.outbox.iterdir()
    mail = message_from_bytes(path.read_bytes(), policy=policy.default)
    assert mail.keys().count("To") == 1
    assert "Bcc" not in mail
    database.close()


def test_different_events_have_different_mail_names() -> None:
    a, b = (Order(number, "1", "", datetime(2010, 1, 1), ()) for number in ("a/b", "a?b"))

    assert mail_name(a) != mail_name(b)


def test_an_outbox_that_cannot_take_one_of_the_mails_is_to_be_tried_again(settings: Settings) -> None:
    name = mail_name(ORDER)
    (settings.outbox / f"{name}.eml").mkdir(parents=True)  # in the way of the file

    with pytest.raises(UnavailableError, match="outbox"):
        Outbox(settings.outbox).send([(name, confirmation(ORDER, settings))])
