"""Mails through a real mail server, Debian's exim4, into files."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from decimal import Decimal
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
import trustme

from streamadapter.testing.servers import Server
from streamstore.database import Database, UnavailableError, handle, persistently
from streamstore.notification import MAILS, METADATA, Notification, SmtpPost, confirmation
from streamstore.orders import Line, Order
from streamstore.replaying.online_retail import read_orders
from streamstore.replaying.report import notification_figures
from streamstore.replaying.sample import SAMPLE
from streamstore.settings import Settings, Smtp, load_settings

SECONDS = 120
ORDER = Order(
    "536365",
    "17850",
    "France",
    datetime(2010, 12, 1, 8, 26),
    (
        Line("71053", "CAFÉ £", 6, Decimal("2.550")),
        Line("71054", "LONG " * 500, 1, Decimal(1)),
        Line("71055", "TWO\n.\nLINES", 1, Decimal(1)),  # a lone dot ends a mail, if it is let
    ),
)
GUEST = Order("536366", None, "France", ORDER.placed_at, ORDER.lines)
REFUSED = Order("536367", "refused", "France", ORDER.placed_at, ORDER.lines)
BUSY = Order("536368", "busy", "France", ORDER.placed_at, ORDER.lines)
LOGIN = {"starttls": True, "username": "shop", "password": "secret"}
Await = Callable[..., None]

CONFIGURATION = """
primary_hostname = localhost
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
daemon_startup_retries = 0
exim_user = {user}
exim_group = {group}
deliver_drop_privilege = true
keep_environment =
spool_directory = {directory}/spool
log_file_path = {directory}/%slog
pid_file_path = {directory}/pid
smtp_accept_queue_per_connection = 0
tls_advertise_hosts = *
tls_certificate = {directory}/certificate.pem
auth_advertise_hosts = ${{if def:tls_in_cipher {{*}}}}
acl_smtp_rcpt = recipient

begin acl
recipient:
  deny message = no such user
       local_parts = customer-refused
  defer message = come again later
       local_parts = customer-busy
       condition = ${{if exists{{{directory}/busy}}}}
  deny message = authentication required
       condition = ${{if exists{{{directory}/closed}}}}
       !authenticated = *
  accept

begin routers
everybody:
  driver = accept
  transport = files

begin transports
files:
  driver = appendfile
  directory = {directory}/mails
  maildir_format

begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if and{{{{eq{{$auth2}}{{shop}}}}{{eq{{$auth3}}{{secret}}}}}}}}
"""


class EximServer(Server):
    """A mail server that puts every mail into one maildir; it needs neither root nor an installed configuration.

    Started by root it runs as nobody, whom `directory` must belong to. The files `busy` and `closed` in there make
    it put off customer-busy, and refuse who has not logged in.
    """

    @staticmethod
    def binary() -> str:
        found = shutil.which("exim4", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if found is None:
            raise FileNotFoundError("no exim4: install Debian's exim4-daemon-light")
        return found

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    def mails(self) -> list[EmailMessage]:
        """What has been delivered so far."""
        files = [*(self.directory / "mails" / "new").glob("*")]
        return [message_from_bytes(file.read_bytes(), policy=policy.default) for file in files]

    def has(self, orders: Sequence[Order]) -> bool:
        """Whether a mail has been delivered for each of these orders, and none for another."""
        return {mail["Subject"] for mail in self.mails()} == {
            f"Your {_kind(o)} {o.invoice_no}" for o in orders
        }

    def _command(self) -> list[str]:
        user = _user()
        path = self.directory / "exim.conf"
        path.write_text(
            CONFIGURATION.format(
                port=self.port, user=user.pw_uid, group=user.pw_gid, directory=self.directory
            )
        )
        become = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        run = [
            self.binary(),
            "-C",
            str(path),
            "-bdf",
            "-q1s",
        ]  # what a crash left in the spool goes out at once
        return [*become, *run] if os.geteuid() == 0 else run

    def _ready(self) -> bool:
        path = self.directory / "pid"  # written when it listens
        return path.exists() and path.read_text().strip() == str(self.pid)

    def _reap(self, number: signal.Signals) -> None:
        """With the processes that it has for each connection and each delivery."""
        if self._process is not None:
            os.killpg(self.pid, number)
        super()._reap(number)


def _user() -> pwd.struct_passwd:
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.getuid())


def _kind(order: Order) -> str:
    return "cancellation" if order.is_cancellation else "order"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def exim(authority: trustme.CA, need_server: Callable[[type[Server]], None]) -> Iterator[EximServer]:
    need_server(EximServer)
    directory = Path(tempfile.mkdtemp(prefix="exim-"))  # pytest's own are closed to others than root
    certificate = directory / "certificate.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    try:
        for path in (directory, certificate):
            os.chown(path, _user().pw_uid, _user().pw_gid)
        with EximServer(directory) as server:
            yield server
    finally:
        shutil.rmtree(directory)


@pytest.fixture
def settings(tmp_path: Path, exim: EximServer) -> Settings:
    return load_settings({"smtp": {"host": "127.0.0.1", "port": exim.port}}, tmp_path)


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    with closing(Database(settings.database_url("notification"), METADATA)) as database:
        yield database


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process trusts the server's certificate."""
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))


def _post(exim: EximServer, **smtp: object) -> SmtpPost:
    return SmtpPost(Smtp.model_validate({"host": "127.0.0.1", "port": exim.port, **smtp}))


def test_mails_arrive_as_they_were_written(
    database: Database, settings: Settings, exim: EximServer, await_condition: Await
) -> None:
    handle(database, Notification(settings), [ORDER, GUEST])
    handle(database, Notification(settings), [ORDER, GUEST])

    await_condition(exim.mails)
    (arrived,) = exim.mails()
    # What Python itself reads in the mail's bytes: the header is folded, the text encoded for the way.
    written = message_from_bytes(confirmation(ORDER, settings).as_bytes(), policy=policy.default)
    assert {name: arrived[name] for name in written} == dict(written.items())
    assert arrived.get_content().splitlines() == written.get_content().splitlines()
    assert "6 x CAFÉ £ at 2.550\n" in arrived.get_content()
    assert "TWO\n.\nLINES" in arrived.get_content()
    assert not settings.outbox.exists()


def test_all_mails_arrive_though_the_server_is_killed_among_them(
    database: Database, settings: Settings, exim: EximServer, await_condition: Await
) -> None:
    orders = [*read_orders(SAMPLE).orders, BUSY]
    expected = [order for order in orders if order.customer]
    (exim.directory / "busy").touch()  # so the batch cannot be over before the kill
    sending = partial(handle, database, Notification(settings), orders)
    thread = threading.Thread(target=persistently, args=(sending, "notification", threading.Event()))
    thread.start()
    await_condition(exim.mails, "the first is there")

    exim.kill()
    (exim.directory / "busy").unlink()
    assert notification_figures(database, {order.event_id for order in orders})["sent"] == 0
    exim.start()
    thread.join(SECONDS)
    await_condition(lambda: exim.has(expected), "all are there")

    arrived = exim.mails()
    assert len({mail["Message-ID"] for mail in arrived}) == len(expected)
    assert len(arrived) <= len(expected) + 1, "only the one whose answer the kill cut off may be there twice"
    guests = len(orders) - len(expected)
    figures = notification_figures(database, {order.event_id for order in orders})
    assert figures == {"sent": len(expected), "skipped_no_customer": guests}


def test_a_service_that_died_before_its_mark_sends_again_under_the_same_id(
    database: Database, settings: Settings, exim: EximServer, await_condition: Await
) -> None:
    for _ in range(2):  # two lives
        with database.write() as connection:
            Notification(settings).apply(connection, [ORDER])
            connection.rollback()

    await_condition(lambda: len(exim.mails()) == 2)
    assert len({mail["Message-ID"] for mail in exim.mails()}) == 1


def test_a_recipient_that_is_refused_for_good_is_recorded_and_keeps_nobody_elses_mail_back(
    database: Database, settings: Settings, exim: EximServer, await_condition: Await
) -> None:
    outcomes = handle(database, Notification(settings), [REFUSED, ORDER])

    assert outcomes == {REFUSED.event_id: "refused", ORDER.event_id: "sent"}
    with database.read() as connection:
        assert {row[0]: row[1] for row in connection.execute(sa.select(MAILS))} == outcomes
    await_condition(lambda: exim.has([ORDER]))


def test_a_recipient_who_is_to_come_again_later_is_tried_until_then_and_nobody_else_again(
    database: Database, settings: Settings, exim: EximServer, await_condition: Await
) -> None:
    service = Notification(settings)
    batch = [REFUSED, BUSY, ORDER]
    (exim.directory / "busy").touch()
    for _ in range(3):
        with pytest.raises(UnavailableError, match="come again later"):
            handle(database, service, batch)
    assert notification_figures(database, {BUSY.event_id})["sent"] == 0

    (exim.directory / "busy").unlink()
    outcomes = handle(database, service, batch)

    assert outcomes == {REFUSED.event_id: "refused", BUSY.event_id: "sent", ORDER.event_id: "sent"}
    await_condition(lambda: exim.has([BUSY, ORDER]))
    assert len(exim.mails()) == 2, "nobody else's mail was sent again meanwhile"


@pytest.mark.parametrize("away", [EximServer.kill, EximServer.pause])
def test_a_server_that_is_away_or_hangs_is_to_be_tried_again(
    exim: EximServer, settings: Settings, away: Callable[[EximServer], None]
) -> None:
    away(exim)

    with pytest.raises(UnavailableError, match=rf"mail server 127\.0\.0\.1:{exim.port}"):
        _post(exim, timeout_seconds=1).send([("name", confirmation(ORDER, settings))])


@pytest.mark.usefixtures("trusted")
def test_after_starttls_and_a_login_mails_go_out_encrypted(
    exim: EximServer, settings: Settings, await_condition: Await
) -> None:
    (exim.directory / "closed").touch()
    mails = [("name", confirmation(ORDER, settings))]

    refused = _post(exim, starttls=True).send(mails)
    sent = _post(exim, **LOGIN).send(mails)

    assert (refused, sent) == ({"name"}, set())
    await_condition(exim.mails)
    (mail,) = exim.mails()
    assert "with esmtpsa" in mail["Received"], "by TLS (s), authenticated (a)"


@pytest.mark.usefixtures("trusted")
def test_a_wrong_password_is_no_answer_to_the_mail(exim: EximServer, settings: Settings) -> None:
    with pytest.raises(UnavailableError, match="Incorrect authentication data"):
        _post(exim, **LOGIN | {"password": "wrong"}).send([("name", confirmation(ORDER, settings))])


def test_a_server_whose_certificate_nobody_vouches_for_gets_neither_password_nor_mail(
    exim: EximServer, settings: Settings
) -> None:
    with pytest.raises(UnavailableError, match="certificate verify failed"):
        _post(exim, **LOGIN).send([("name", confirmation(ORDER, settings))])
    assert exim.mails() == []
