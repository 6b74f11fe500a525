"""Confirmation mails, in the outbox and by SMTP."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from streamstore.database import Database, UnavailableError, handle
from streamstore.notification import METADATA, Notification, SmtpPost, confirmation, mail_name
from streamstore.orders import Line, Order
from streamstore.report import notification_figures
from streamstore.settings import Settings, Smtp, load_settings

ORDER = Order(
    "536365", "17850", "France", datetime(2010, 12, 1, 8, 26), (Line("71053", "CAFÉ £", 6, Decimal("2.550")),)
)
GUEST = Order("536366", None, "France", datetime(2010, 12, 1, 8, 26), ORDER.lines)


class MailServer(socketserver.ThreadingTCPServer):
    """As much SMTP as smtplib speaks; answers RCPT with `answer`."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.answer = b"250 ok"
        self.mails: list[bytes] = []


class _Session(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self.wfile.write(b"220 test\r\n")
        for line in self.rfile:
            verb = line[:4].upper()
            if verb == b"RCPT":
                self.wfile.write(self.server.answer + b"\r\n")
            elif verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                mail = b"".join(iter(self.rfile.readline, b".\r\n"))
                self.server.mails.append(mail)
                self.wfile.write(b"250 taken\r\n")
            elif verb == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            else:
                self.wfile.write(b"250 ok\r\n")


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    with MailServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _settings(tmp_path: Path, port: int) -> Settings:
    return load_settings({"smtp": {"host": "127.0.0.1", "port": port}}, tmp_path)


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


def test_with_smtp_the_mail_goes_to_the_server(tmp_path: Path, mail_server: MailServer) -> None:
    settings = _settings(tmp_path, mail_server.server_address[1])
    database = Database(settings.database_url("notification"), METADATA)

    handle(database, Notification(settings), [ORDER, GUEST])
    handle(database, Notification(settings), [ORDER, GUEST])

    (mail,) = mail_server.mails
    assert b"Message-ID: <order_536365-" in mail
    assert not settings.outbox.exists()
    database.close()


def test_a_mail_refused_for_good_is_not_sent_and_not_tried_again(
    tmp_path: Path, mail_server: MailServer
) -> None:
    mail_server.answer = b"550 no such user"
    settings = _settings(tmp_path, mail_server.server_address[1])
    database = Database(settings.database_url("notification"), METADATA)

    handle(database, Notification(settings), [ORDER])

    assert notification_figures(database, {ORDER.event_id}) == {"sent": 0, "skipped_no_customer": 0}
    database.close()


def test_a_mail_server_that_is_busy_or_away_is_to_be_tried_again(
    tmp_path: Path, mail_server: MailServer, settings: Settings
) -> None:
    mail_server.answer = b"451 later"
    host, port = mail_server.server_address[:2]
    mails = [("name", confirmation(ORDER, settings))]

    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1"):
        SmtpPost(Smtp(host=str(host), port=port)).send(mails)
    with pytest.raises(UnavailableError, match="refused"):
        SmtpPost(Smtp(host="127.0.0.1", port=1)).send(mails)
