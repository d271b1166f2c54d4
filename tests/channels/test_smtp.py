"""E-mail against a real SMTP server, and against peers that are none."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from hypothesis import given
from hypothesis import strategies as st

from tests.channels.peers import Behaviour, raw_peer
from tocsin.channels import Delivered, Message, Rejected, Retry
from tocsin.channels.smtp import (
    MAX_ADDRESS_CHARACTERS,
    MAX_SUBJECT_CHARACTERS,
    MAX_TEXT_CHARACTERS,
    Security,
    SmtpChannel,
    SmtpSettings,
    address_problem,
    compose,
)
from tocsin.errors import Code, TocsinError

pytestmark = pytest.mark.anyio

ONCALL = "oncall@example.org"


class Mailbox:
    """Accepts mail, or answers as told: one prepared answer per command."""

    def __init__(self, *, rcpt: str = "", data: str = "", mail: str = "") -> None:
        self.envelopes: list[Envelope] = []
        self._rcpt, self._data, self._mail = rcpt, data, mail
        self.quits = 0

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self._mail:
            return self._mail
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self._rcpt:
            return self._rcpt
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self._data:
            return self._data
        self.envelopes.append(envelope)
        return "250 2.0.0 Ok: queued as 4XyZ"

    async def handle_QUIT(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.quits += 1
        return "221 Bye"

    @property
    def mails(self) -> list[EmailMessage]:
        return [message_from_bytes(as_bytes(envelope), policy=default) for envelope in self.envelopes]


def as_bytes(envelope: Envelope) -> bytes:
    content = envelope.content
    assert isinstance(content, bytes)
    return content


def text_of(mail: EmailMessage) -> str:
    content = mail.get_content()
    assert isinstance(content, str)
    return content.replace("\r\n", "\n")


@asynccontextmanager
async def mail_server(mailbox: Mailbox, tls: ssl.SSLContext | None = None, **options: Any) -> AsyncIterator[int]:
    """Serve `mailbox` by aiosmtpd on a loopback port, which is yielded."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(mailbox, hostname="mx.example.org", loop=loop, **options), "127.0.0.1", 0, ssl=tls
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


def settings(port: int) -> SmtpSettings:
    return SmtpSettings(
        host="127.0.0.1",
        port=port,
        sender="Tocsin Störung <tocsin@example.org>",
        security=Security.NONE,
        timeout_seconds=5,
    )


async def test_accepted_mail_is_delivered_with_the_servers_words(message: Message) -> None:
    mailbox = Mailbox()
    async with mail_server(mailbox) as port:
        outcome = await SmtpChannel(settings(port)).send(ONCALL, message)
    assert outcome == Delivered("250 2.0.0 Ok: queued as 4XyZ")
    [envelope] = mailbox.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == ("tocsin@example.org", [ONCALL])
    assert mailbox.quits == 1


async def test_mail_says_what_it_is_in_utf8_over_seven_bits(message: Message) -> None:
    mailbox = Mailbox()
    async with mail_server(mailbox) as port:
        await SmtpChannel(settings(port)).send(ONCALL, message)
    [mail] = mailbox.mails
    assert mail["Subject"] == message.subject
    assert mail["From"] == "Tocsin Störung <tocsin@example.org>"
    assert mail["To"] == ONCALL
    assert mail["Date"].datetime == message.sent_at.replace(microsecond=0)
    assert mail["Auto-Submitted"] == "auto-generated"
    assert text_of(mail) == message.text + "\n"
    raw = as_bytes(mailbox.envelopes[0])
    assert raw.isascii()
    assert max(map(len, raw.splitlines())) <= 78


async def test_same_notification_has_the_same_message_id_each_time(message: Message) -> None:
    mailbox = Mailbox()
    async with mail_server(mailbox) as port:
        channel = SmtpChannel(settings(port))
        await channel.send(ONCALL, message)
        await channel.send(ONCALL, replace(message, sent_at=datetime(2025, 3, 1, 13, tzinfo=UTC)))
    first, second = mailbox.mails
    assert first["Message-ID"] == second["Message-ID"] == f"<{message.notification_id}@example.org>"
    assert first["Date"] != second["Date"]


@pytest.mark.parametrize("domain", ["example.org", "a-very-long-subdomain." * 5 + "example.org"])
async def test_mails_of_one_incident_share_a_thread_that_clients_can_read(message: Message, domain: str) -> None:
    mailbox = Mailbox()
    async with mail_server(mailbox) as port:
        channel = SmtpChannel(replace(settings(port), sender=f"tocsin@{domain}"))
        await channel.send(ONCALL, message)
        await channel.send(ONCALL, replace(message, reply_thread=""))
    threaded, alone = mailbox.mails
    root = f"<thread.{message.reply_thread}@{domain}>"
    assert threaded["References"] == threaded["In-Reply-To"] == root
    assert root.encode() in as_bytes(mailbox.envelopes[0])
    assert "References" not in alone
    assert "In-Reply-To" not in alone


@pytest.mark.parametrize("answer", ["450 4.2.0 Greylisted", "451 4.7.1 Try again later", "452 4.2.2 Mailbox full"])
async def test_temporary_refusal_of_the_recipient_is_tried_again(message: Message, answer: str) -> None:
    async with mail_server(Mailbox(rcpt=answer)) as port:
        assert await SmtpChannel(settings(port)).send(ONCALL, message) == Retry(answer)


@pytest.mark.parametrize("answer", ["550 5.1.1 User unknown", "554 5.7.1 Relay access denied", "553 Bad mailbox"])
async def test_final_refusal_of_the_recipient_is_rejected_in_its_words(message: Message, answer: str) -> None:
    mailbox = Mailbox(rcpt=answer)
    async with mail_server(mailbox) as port:
        assert await SmtpChannel(settings(port)).send(ONCALL, message) == Rejected(answer)
    assert mailbox.quits == 1


async def test_refusal_of_the_mail_itself_follows_its_class(message: Message) -> None:
    async with mail_server(Mailbox(data="554 5.7.1 Looks like spam")) as port:
        assert await SmtpChannel(settings(port)).send(ONCALL, message) == Rejected("554 5.7.1 Looks like spam")
    async with mail_server(Mailbox(data="452 4.3.1 Disk full")) as port:
        assert await SmtpChannel(settings(port)).send(ONCALL, message) == Retry("452 4.3.1 Disk full")


async def test_refused_sender_is_our_fault_and_tried_again(message: Message) -> None:
    async with mail_server(Mailbox(mail="550 5.7.1 Sender not allowed")) as port:
        outcome = await SmtpChannel(settings(port)).send(ONCALL, message)
    assert isinstance(outcome, Retry)
    assert "refuses our sender" in outcome.answer
    assert "550 5.7.1 Sender not allowed" in outcome.answer


def _authenticator(server: SMTP, session: Session, envelope: Envelope, mechanism: str, auth: object) -> AuthResult:
    good = getattr(auth, "login", b"") == b"tocsin" and getattr(auth, "password", b"") == b"right"
    return AuthResult(success=good, handled=False)


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
async def test_login_is_made_and_a_refused_one_is_tried_again_without_telling_the_password(message: Message) -> None:
    mailbox = Mailbox()
    options: dict[str, Any] = {"authenticator": _authenticator, "auth_require_tls": False, "auth_required": True}
    async with mail_server(mailbox, **options) as port:
        good = replace(settings(port), username="tocsin", password="right")
        bad = replace(good, password="wrong-password")
        assert isinstance(await SmtpChannel(good).send(ONCALL, message), Delivered)
        outcome = await SmtpChannel(bad).send(ONCALL, message)
        missing = await SmtpChannel(settings(port)).send(ONCALL, message)
    assert isinstance(outcome, Retry)
    assert "refuses our login" in outcome.answer
    assert "535" in outcome.answer
    assert isinstance(missing, Retry)
    assert "530" in missing.answer
    assert len(mailbox.envelopes) == 1
    assert "wrong-password" not in outcome.answer + repr(bad)


async def test_login_that_the_server_does_not_offer_is_tried_again(message: Message) -> None:
    async with mail_server(Mailbox()) as port:
        outcome = await SmtpChannel(replace(settings(port), username="a", password="b")).send(ONCALL, message)
    assert isinstance(outcome, Retry)


async def test_refused_connection_is_tried_again(message: Message) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        outcome = await SmtpChannel(settings(port)).send(ONCALL, message)
    assert isinstance(outcome, Retry)
    assert f"the mail server 127.0.0.1:{port} failed" in outcome.answer


@pytest.mark.parametrize("host", ["nothing.invalid", "a" * 64 + ".example"])
async def test_host_that_does_not_exist_is_tried_again(message: Message, host: str) -> None:
    outcome = await SmtpChannel(replace(settings(25), host=host)).send(ONCALL, message)
    assert isinstance(outcome, Retry)


def scripted(*lines: bytes, then_hang: bool = True) -> Behaviour:
    """Answer the client's lines with these, one each (the first is the greeting); then hang or hang up."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for line in lines:
            writer.write(line + b"\r\n")
            await writer.drain()
            if line.startswith(b"354"):
                await reader.readuntil(b"\r\n.\r\n")
            else:
                await reader.readuntil(b"\r\n")
        if then_hang:
            await asyncio.Event().wait()

    return behave


TALK = (b"220 hi", b"250 hi", b"250 sender ok", b"250 recipient ok", b"354 go on", b"250 queued")


@pytest.mark.parametrize("spoken", range(6))
async def test_server_that_hangs_at_any_point_is_given_up_in_time(message: Message, spoken: int) -> None:
    async with raw_peer(scripted(*TALK[:spoken])) as port, asyncio.timeout(3):
        outcome = await SmtpChannel(replace(settings(port), timeout_seconds=0.15)).send(ONCALL, message)
    assert outcome == Retry(f"the mail server 127.0.0.1:{port} did not finish within 0.15 seconds")


@pytest.mark.parametrize("spoken", range(6))
async def test_server_that_hangs_up_at_any_point_is_tried_again(message: Message, spoken: int) -> None:
    async with raw_peer(scripted(*TALK[:spoken], then_hang=False)) as port:
        outcome = await SmtpChannel(settings(port)).send(ONCALL, message)
    assert isinstance(outcome, Retry)


@pytest.mark.parametrize("then_hang", [True, False])
async def test_accepted_mail_is_delivered_although_the_goodbye_fails(message: Message, then_hang: bool) -> None:
    async with raw_peer(scripted(*TALK, then_hang=then_hang)) as port, asyncio.timeout(3):
        outcome = await SmtpChannel(replace(settings(port), timeout_seconds=0.3)).send(ONCALL, message)
    assert outcome == Delivered("250 queued")


async def test_rejection_stands_although_the_server_hangs_after_it(message: Message) -> None:
    talk = (*TALK[:3], b"550 5.1.1 User unknown")
    async with raw_peer(scripted(*talk)) as port, asyncio.timeout(3):
        outcome = await SmtpChannel(replace(settings(port), timeout_seconds=0.3)).send(ONCALL, message)
    assert outcome == Rejected("550 5.1.1 User unknown")


@pytest.mark.parametrize(
    "greeting",
    [
        b"554 5.7.1 You are blocked",
        b"421 too busy",
        b"HTTP/1.1 400 Bad Request",
        b"\xff\xfe",
        b"2",
        b"220" + b"x" * 99999,
    ],
)
async def test_greeting_that_is_no_welcome_is_tried_again(message: Message, greeting: bytes) -> None:
    async with raw_peer(scripted(greeting, then_hang=False)) as port:
        assert isinstance(await SmtpChannel(settings(port)).send(ONCALL, message), Retry)


async def test_servers_words_are_cleaned_and_bounded(message: Message) -> None:
    said = b"550-" + b"\x1b[2Jno \xff\xfe " + b"x" * 300 + b"\r\n550 " + b"y" * 300
    async with raw_peer(scripted(*TALK[:3], said, then_hang=False)) as port:
        outcome = await SmtpChannel(settings(port)).send(ONCALL, message)
    assert isinstance(outcome, Rejected)
    assert outcome.answer.startswith("550 [2Jno xxx")
    assert len(outcome.answer) == 500


@pytest.mark.parametrize(
    "address",
    [
        "",
        "oncall",
        "@example.org",
        "oncall@",
        "a@b@example.org",
        "on call@example.org",
        "oncall@exam ple.org",
        "oncall@example.org\r\nBcc: all@example.org",
        "oncall@example.org\nRCPT TO:<all@example.org>",
        "oncall@example.org>\r\nDATA",
        "oncall@example.org> SIZE=1",
        "oncall@example.org, all@example.org",
        "On Call <oncall@example.org>",
        '"on call"@example.org',
        "oncall@[127.0.0.1]",
        "on\x00call@example.org",
        "on\u2028call@example.org",
        "oncall@example..org",
        ".oncall@example.org",
        "oncall.@example.org",
        "on..call@example.org",
        "=?utf-8?q?x=0D=0ABcc=3Aall=40example.org?=@example.org",
        "oncall@example.org\n",
        "x" * 65 + "@example.org",
        "oncall@" + "a." * 130 + "org",
    ],
)
async def test_address_that_is_none_is_rejected_before_anything_is_sent(message: Message, address: str) -> None:
    mailbox = Mailbox()
    async with mail_server(mailbox) as port:
        assert isinstance(await SmtpChannel(settings(port)).send(address, message), Rejected)
    assert mailbox.envelopes == []
    assert mailbox.quits == 0


@pytest.mark.parametrize("address", ["a@b", "o'hara+tag@example.org", "x_y-z@sub.example.org", "1/2=3@example.org"])
async def test_unusual_but_legal_address_is_written_to(message: Message, address: str) -> None:
    mailbox = Mailbox()
    async with mail_server(mailbox) as port:
        assert isinstance(await SmtpChannel(settings(port)).send(address, message), Delivered)
    assert mailbox.envelopes[0].rcpt_tos == [address]
    assert mailbox.mails[0]["To"] == address


def test_address_bound_holds_at_its_edge() -> None:
    domain = "a." * 94 + "example.org"
    address = "x" * (MAX_ADDRESS_CHARACTERS - len(domain) - 1) + "@" + domain
    assert len(address) == MAX_ADDRESS_CHARACTERS
    assert address_problem(address) is None
    assert address_problem(address + "g") is not None


@pytest.mark.parametrize(
    "evil",
    [
        "down\r\nBcc: all@example.org",
        "down\nBcc: all@example.org",
        "down\rBcc: all@example.org",
        "down\r\n\r\nBcc: all@example.org",
        "down\x00\x0b\x0c\x1c\x85\u2028Bcc: all@example.org",
        "=?utf-8?q?down=0D=0ABcc:_all=40example.org?=",
        "\ud800 down",
    ],
)
async def test_header_injection_changes_no_header(message: Message, evil: str) -> None:
    mailbox = Mailbox()
    async with mail_server(mailbox) as port:
        forged = replace(message, subject=evil, reply_thread=evil)
        assert isinstance(await SmtpChannel(settings(port)).send(ONCALL, forged), Delivered)
    [mail] = mailbox.mails
    assert mail["Bcc"] is None
    assert mailbox.envelopes[0].rcpt_tos == [ONCALL]
    assert "down" in mail["Subject"]
    header = as_bytes(mailbox.envelopes[0]).partition(b"\r\n\r\n")[0]
    assert b"\nBcc" not in header


async def test_body_cannot_end_the_mail_or_start_a_command(message: Message) -> None:
    mailbox = Mailbox()
    text = "first\r\n.\r\nMAIL FROM:<x@example.org>\r\n..\n.\rlast\x00\x1b[2J\ud800"
    async with mail_server(mailbox) as port:
        await SmtpChannel(settings(port)).send(ONCALL, replace(message, text=text))
    [mail] = mailbox.mails
    assert text_of(mail) == "first\n.\nMAIL FROM:<x@example.org>\n..\n.\nlast\ufffd\ufffd[2J\ufffd\n"


async def test_text_and_subject_are_bounded_and_say_that_they_were_cut(message: Message) -> None:
    mailbox = Mailbox()
    async with mail_server(mailbox) as port:
        channel = SmtpChannel(settings(port))
        for extra in (0, 1):
            subject, text = "s" * (MAX_SUBJECT_CHARACTERS + extra), "t" * (MAX_TEXT_CHARACTERS + extra)
            await channel.send(ONCALL, replace(message, subject=subject, text=text))
    whole, cut = mailbox.mails
    assert whole["Subject"] == "s" * MAX_SUBJECT_CHARACTERS
    assert text_of(whole) == "t" * MAX_TEXT_CHARACTERS + "\n"
    assert cut["Subject"] == "s" * (MAX_SUBJECT_CHARACTERS - 1) + "…"
    assert text_of(cut).startswith("t" * MAX_TEXT_CHARACTERS + "\n")
    assert "cut here" in text_of(cut)


async def test_international_address_is_written_to_where_the_server_can(message: Message) -> None:
    mailbox = Mailbox()
    async with mail_server(mailbox, enable_SMTPUTF8=True) as port:
        outcome = await SmtpChannel(settings(port)).send("jürgen@bücher.example", message)
    assert isinstance(outcome, Delivered)
    [envelope] = mailbox.envelopes
    assert envelope.rcpt_tos == ["jürgen@bücher.example"]
    assert "SMTPUTF8" in envelope.mail_options
    assert "To: jürgen@bücher.example".encode() in as_bytes(envelope)


async def test_international_address_is_rejected_where_the_server_cannot(message: Message) -> None:
    mailbox = Mailbox()
    async with mail_server(mailbox) as port:
        outcome = await SmtpChannel(settings(port)).send("jürgen@example.org", message)
    assert isinstance(outcome, Rejected)
    assert "international" in outcome.answer
    assert mailbox.envelopes == []


async def test_cancelled_send_leaves_nothing_open(message: Message) -> None:
    connected = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await reader.read()

    async with raw_peer(hang) as port:
        sending = asyncio.create_task(SmtpChannel(settings(port)).send(ONCALL, message))
        await connected.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1 and its key, in one file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("makes its certificate with the openssl program")
    pem = tmp_path_factory.mktemp("tls") / "server.pem"
    request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=127.0.0.1"
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run([openssl, *request.split(), *files], cwd=pem.parent, check=True, capture_output=True)
    pem.write_text((pem.parent / "cert.pem").read_text() + (pem.parent / "key.pem").read_text())
    return pem


@pytest.fixture
def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def client_tls(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate.parent / "cert.pem"))


async def test_mail_goes_over_starttls(
    message: Message, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    mailbox = Mailbox()
    async with mail_server(mailbox, tls_context=server_tls, require_starttls=True) as port:
        secure = replace(settings(port), security=Security.STARTTLS)
        assert isinstance(await SmtpChannel(secure, client_tls).send(ONCALL, message), Delivered)
        untrusted = await SmtpChannel(secure).send(ONCALL, message)
    assert isinstance(untrusted, Retry)
    assert "certificate verify failed" in untrusted.answer
    assert len(mailbox.envelopes) == 1


async def test_mail_goes_over_tls_from_the_first_byte(
    message: Message, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    mailbox = Mailbox()
    async with mail_server(mailbox, tls=server_tls) as port:
        secure = replace(settings(port), security=Security.TLS)
        assert isinstance(await SmtpChannel(secure, client_tls).send(ONCALL, message), Delivered)
        assert isinstance(await SmtpChannel(secure).send(ONCALL, message), Retry)
    assert len(mailbox.envelopes) == 1


async def test_nothing_is_sent_in_the_clear_when_starttls_is_missing(message: Message) -> None:
    mailbox = Mailbox()
    async with mail_server(mailbox) as port:
        outcome = await SmtpChannel(replace(settings(port), security=Security.STARTTLS)).send(ONCALL, message)
    assert isinstance(outcome, Retry)
    assert "STARTTLS" in outcome.answer
    assert mailbox.envelopes == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": ""},
        {"host": "mail example"},
        {"host": "mail\r\nexample"},
        {"port": 0},
        {"port": 65536},
        {"timeout_seconds": 0},
        {"timeout_seconds": 601},
        {"timeout_seconds": float("nan")},
        {"ehlo_name": "two words"},
        {"password": "without a name"},
        {"sender": ""},
        {"sender": "tocsin"},
        {"sender": "tocsin@"},
        {"sender": "a@example.org, b@example.org"},
        {"sender": "Tocsin <tocsin@example.org> or so"},
        {"sender": "=?utf-8?q?x=0D=0ABcc=3Aall=40example.org?= <tocsin@example.org>"},
        {"sender": "Tocsin\r\nBcc: x@example.org <tocsin@example.org>"},
    ],
)
def test_settings_that_could_never_work_are_refused_at_once(wrong: dict[str, object]) -> None:
    right: dict[str, object] = {"host": "mail.example.org", "port": 587, "sender": "tocsin@example.org"}
    with pytest.raises(TocsinError) as refused:
        SmtpSettings(**{**right, **wrong})  # type: ignore[arg-type]
    assert refused.value.refusal.code is Code.MISCONFIGURED
    assert refused.value.refusal.hint


HOSTILE = st.lists(st.sampled_from(["=?utf-8?q?", "=0D=0A", "?=", "\r\n", "Bcc: x@y", " ", "=", "?", "é"])).map("".join)


@given(
    address=st.from_regex(r"[\w!#$%&'*+/=?^`{|}~.-]{1,20}@[\w.-]{1,20}", fullmatch=True),
    text=st.text() | HOSTILE,
)
def test_no_address_or_text_adds_a_header(address: str, text: str) -> None:
    sender = Address("Tocsin", "tocsin", "example.org")
    message = Message(UUID(int=1), text, text, {}, datetime(2025, 3, 1, tzinfo=UTC), text)
    if address_problem(address) is not None:
        return
    mail = compose(sender, address, message)
    header = mail.as_bytes().partition(b"\r\n\r\n")[0]
    written = [line.partition(b":")[0].decode() for line in header.split(b"\r\n") if line[:1] != b" "]
    assert written == mail.keys()
    assert len(set(written)) == len(written)
