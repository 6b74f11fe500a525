"""Notification: a mail that confirms each order and each cancellation to its customer; guests left no address.

Mails are files in an outbox by default, or sent by SMTP. They leave before the transaction that marks them: a
service that dies in between does it again. In the outbox that is the same file once more. By SMTP it is a second
mail with the same Message-ID, which mail systems may show twice: SMTP has no way to ask what has arrived.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import smtplib
import ssl
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from pathlib import Path
from threading import get_ident
from typing import Protocol

import sqlalchemy as sa

from streamstore.database import UnavailableError, handled_table, insert_rows, read_column
from streamstore.orders import Order, as_text
from streamstore.settings import Settings, Smtp

log = logging.getLogger(__name__)

NAME = "notification"
METADATA = sa.MetaData()
HANDLED = handled_table(METADATA, NAME)
SENT, SKIPPED, REFUSED = "sent", "skipped: no customer", "refused"
MAILS = sa.Table(
    "notification_mails",
    METADATA,
    sa.Column("event_id", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
)
REMEMBERED = 10_000  # mails that a mail server has answered for good
WRITERS = 8  # files synced at once: filesystems write such syncs together
_UNSAFE = re.compile(r"[^A-Za-z0-9.-]+")  # in a file name or the local part of an address


class Post(Protocol):
    """Takes mails away, durably: when `send` returns they are no longer this service's care."""

    def send(self, mails: Sequence[tuple[str, EmailMessage]]) -> set[str]:
        """Send mails, each with its name; returns the names that were refused for good. Raises UnavailableError."""
        ...


class Notification:
    """Confirms orders and cancellations."""

    name = NAME
    metadata = METADATA
    handled = HANDLED

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._post: Post = SmtpPost(settings.smtp) if settings.smtp else Outbox(settings.outbox)

    def apply(self, connection: sa.Connection, orders: Sequence[Order]) -> None:
        """Send a mail for each order with a customer, and note for every order what became of it."""
        mails = [
            (mail_name(order), confirmation(order, self._settings)) for order in orders if order.customer
        ]
        refused = self._post.send(mails) if mails else set()
        insert_rows(
            connection,
            MAILS,
            [
                (
                    order.event_id,
                    SKIPPED if not order.customer else REFUSED if mail_name(order) in refused else SENT,
                )
                for order in orders
            ],
        )

    def outcomes(self, connection: sa.Connection, event_ids: Collection[str]) -> dict[str, str]:
        """Sent, skipped or refused."""
        return read_column(connection, MAILS.c.event_id, MAILS.c.state, event_ids)


def mail_name(order: Order) -> str:
    """The same name for the same event, safe as a file name; the hash keeps apart what the rest makes equal."""
    digest = hashlib.sha256(order.event_id.encode()).hexdigest()[:12]
    return f"{_UNSAFE.sub('_', order.event_id)[:80]}-{digest}"


def confirmation(order: Order, settings: Settings) -> EmailMessage:
    """The mail for an order with a customer; equal for equal orders, so that a repeat changes nothing."""
    what = "cancellation" if order.is_cancellation else "order"
    number = " ".join(order.invoice_no.split())
    mail = EmailMessage(policy=SMTP)
    mail["From"] = settings.sender
    mail["To"] = settings.recipient.replace("{customer}", _UNSAFE.sub("_", order.customer or ""))
    mail["Subject"] = f"Your {what} {number}"
    mail["Date"] = format_datetime(order.placed_at)
    mail["Message-ID"] = f"<{mail_name(order)}@streamstore>"
    width = max(len(str(line.quantity)) for line in order.lines) if order.lines else 1
    lines = [
        f"{line.quantity:>{width}} x {line.description or line.stock_code} at {as_text(line.unit_price)}"
        for line in order.lines
    ]
    thanks = "We have cancelled the following." if order.is_cancellation else "Thank you for your order."
    mail.set_content("\n".join([thanks, "", *lines, "", f"Total: {as_text(order.total)}", ""]))
    return mail


class Outbox:
    """A directory that gets one `.eml` file a mail."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def send(self, mails: Sequence[tuple[str, EmailMessage]]) -> set[str]:
        """Write the files; each appears whole or not at all, and outlives a power cut once this returns."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            with ThreadPoolExecutor(WRITERS, "outbox") as threads:
                list(threads.map(self._write, mails))  # raises what a write has raised
            _sync_directory(self._directory)
        except OSError as error:
            raise UnavailableError(f"outbox {self._directory}: {error}") from error
        return set()

    def _write(self, named: tuple[str, EmailMessage]) -> None:
        name, mail = named
        temporary = self._directory / f".{name}.{os.getpid()}-{get_ident()}.tmp"
        with temporary.open("wb") as file:
            file.write(mail.as_bytes())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._directory / f"{name}.eml")


class SmtpPost:
    """A mail server; one connection a batch.

    What the server has answered for good is remembered, so that a batch of which one mail has to wait, or whose
    transaction fails, does not send the others again; only a killed process does.
    """

    def __init__(self, smtp: Smtp) -> None:
        self._smtp = smtp
        self._refused: dict[str, bool] = {}  # whether it was refused, by name; the oldest first

    def send(self, mails: Sequence[tuple[str, EmailMessage]]) -> set[str]:
        """Hand the mails to the server. A 5xx answer to one mail refuses it; all else is to be tried again."""
        waiting: list[smtplib.SMTPException] = []
        try:
            with self._connected() as server:
                for name, mail in mails:
                    if name not in self._refused:
                        try:
                            self._refused[name] = _is_refused(server, name, mail)
                        except (smtplib.SMTPRecipientsRefused, smtplib.SMTPResponseException) as error:
                            waiting.append(error)  # 4xx: the next one may have better luck
            if waiting:
                raise waiting[0]
        except (smtplib.SMTPException, OSError) as error:
            raise UnavailableError(f"mail server {self._smtp.host}:{self._smtp.port}: {error}") from error
        refused = {name for name, _ in mails if self._refused[name]}
        for name in list(self._refused)[: max(len(self._refused) - REMEMBERED, 0)]:
            del self._refused[name]
        return refused

    @contextmanager
    def _connected(self) -> Iterator[smtplib.SMTP]:
        smtp = self._smtp
        with smtplib.SMTP(smtp.host, smtp.port, timeout=smtp.timeout_seconds) as server:
            if smtp.starttls:
                server.starttls(context=ssl.create_default_context())  # without one nothing is verified
            if smtp.username is not None:
                server.login(smtp.username, smtp.password.get_secret_value() if smtp.password else "")
            yield server


def _is_refused(server: smtplib.SMTP, name: str, mail: EmailMessage) -> bool:
    """Send it: whether it was refused for good. Raises what smtplib raises for any other failure."""
    try:
        server.send_message(mail)
    except smtplib.SMTPRecipientsRefused as error:
        if any(code < 500 for code, _ in error.recipients.values()):
            raise
        log.warning("mail %s was refused: %s", name, error)
        return True
    except smtplib.SMTPResponseException as error:
        if error.smtp_code < 500:
            raise
        log.warning("mail %s was refused: %s", name, error)
        return True
    return False


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
