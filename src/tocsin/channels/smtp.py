"""E-mail over SMTP: one connection, one recipient, one answer that is recorded as it was given."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import unicodedata
from dataclasses import dataclass, field
from email.headerregistry import Address, HeaderRegistry, MessageIDHeader
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8, EmailPolicy
from enum import StrEnum

import aiosmtplib

from tocsin.channels import Delivered, Message, Outcome, Rejected, Retry, clean_line
from tocsin.errors import Code, refuse

MAX_SUBJECT_CHARACTERS = 200
MAX_TEXT_CHARACTERS = 100_000
MAX_ADDRESS_CHARACTERS = 254
MAX_THREAD_CHARACTERS = 100
MAX_TIMEOUT_SECONDS = 600.0

_QUIT_SECONDS = 1.0
_BAD_LOGIN = frozenset({530, 534, 535, 538})

# A dot-atom (RFC 5322) with international characters (RFC 6531), at a host name. Quoted local parts and address
# literals are legal, unused by people, and the classic vehicles of injection.
_ADDRESS = re.compile(r"[\w!#$%&'*+/=?^`{|}~.-]{1,64}@(?:[\w-]{1,63}\.)*[\w-]{1,63}")
_NAMED_ADDRESS = re.compile(r"(?P<name>[^<>]*)<(?P<spec>[^<>]+)>")
_UNSAFE_IN_ID = re.compile(r"[^A-Za-z0-9._-]+")

# Python decodes encoded words in what it is given as plain text, and the line breaks within them become real
# ones (CVE-2024-6923, mended in 3.11.10): such a word must not reach it, whoever wrote it.
_ENCODED_WORD = "=?"

# Python folds a References header longer than a line into encoded words, which no mail client reads as an id;
# a Message-ID it leaves whole.
_REGISTRY = HeaderRegistry()
for _name in ("references", "in-reply-to"):
    _REGISTRY.map_to_type(_name, MessageIDHeader)  # type: ignore[arg-type]  # the registry adds BaseHeader itself


class Security(StrEnum):
    """How the connection to the mail server is protected."""

    NONE = "none"
    STARTTLS = "starttls"
    TLS = "tls"


@dataclass(frozen=True, slots=True)
class SmtpSettings:
    """The operator's mail server.

    Args:
        host: its name or address.
        port: 25, 587 (STARTTLS) or 465 (TLS) as a rule.
        username: empty for no authentication.
        password: never shown by `repr`.
        security: with STARTTLS and TLS the certificate is verified, and nothing is sent without.
        sender: the From address: `tocsin@example.org` or `Tocsin <tocsin@example.org>`.
        timeout_seconds: for one whole attempt.
        ehlo_name: how this machine introduces itself; its host name if empty.

    Raises TocsinError (MISCONFIGURED) for a value that could never work.
    """

    host: str
    port: int
    sender: str
    username: str = ""
    password: str = field(default="", repr=False)
    security: Security = Security.STARTTLS
    timeout_seconds: float = 30.0
    ehlo_name: str = ""

    def __post_init__(self) -> None:
        _require(_is_one_word(self.host), f"The mail server's host {self.host!r} is not a host name")
        _require(0 < self.port < 65536, f"The mail server's port {self.port} is not between 1 and 65535")
        _require(
            0 < self.timeout_seconds <= MAX_TIMEOUT_SECONDS,
            f"The mail timeout of {self.timeout_seconds} s is not between 0 and {MAX_TIMEOUT_SECONDS:g} s",
        )
        _require(not self.ehlo_name or _is_one_word(self.ehlo_name), "The EHLO name is not one word")
        _require(bool(self.username) or not self.password, "A mail password is set without a user name")
        _require(_sender(self.sender) is not None, f"The mail sender {self.sender!r} is not an e-mail address")


class SmtpChannel:
    """Sends notifications as e-mail."""

    def __init__(self, settings: SmtpSettings, tls_context: ssl.SSLContext | None = None) -> None:
        """`tls_context` replaces the system's certificate authorities, for a server with a private one."""
        self._settings = settings
        self._tls_context = tls_context

    async def send(self, address: str, message: Message) -> Outcome:
        """Mail the message to `address`; see `Channel.send`.

        A refusal of the recipient or of the mail (5xx after RCPT or DATA) is final. All else is tried again:
        4xx (greylisting), the network, and also a refused login, sender or connection, because those are faults
        of this installation that its operator will repair, and the page is still owed then.
        """
        problem = address_problem(address)
        if problem is not None:
            return Rejected(f"mail not sent: {problem}")
        client = self._client()
        try:
            async with asyncio.timeout(self._settings.timeout_seconds) as limit:
                outcome = await self._attempt(client, address, message)
            await _say_goodbye(client, limit.when())
        except TimeoutError:
            return Retry(f"{self._peer} did not finish within {self._settings.timeout_seconds:g} seconds")
        finally:
            client.close()
        return outcome

    @property
    def _peer(self) -> str:
        return f"the mail server {self._settings.host}:{self._settings.port}"

    def _client(self) -> aiosmtplib.SMTP:
        settings = self._settings
        return aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port,
            username=settings.username or None,
            password=settings.password if settings.username else None,
            local_hostname=settings.ehlo_name or _own_name(),
            # `asyncio.timeout` in `send` is the one clock of an attempt.
            timeout=None,
            use_tls=settings.security is Security.TLS,
            start_tls=settings.security is Security.STARTTLS,
            tls_context=self._tls_context,
        )

    async def _attempt(self, client: aiosmtplib.SMTP, address: str, message: Message) -> Outcome:
        try:
            await client.connect()
            return await self._transact(client, address, message)
        except TimeoutError:
            raise
        except aiosmtplib.SMTPResponseException as error:
            return self._refused(error)
        except (aiosmtplib.SMTPException, OSError) as error:
            return Retry(f"{self._peer} failed: {str(error) or type(error).__name__}")
        except UnicodeError:
            # The host name's encoding (IDNA) refuses what no resolver could be asked.
            return Retry(f"{self._peer} has a host name that cannot exist; check the mail settings")

    def _refused(self, error: aiosmtplib.SMTPResponseException) -> Outcome:
        said = f"{error.code} {error.message}"
        if isinstance(error, aiosmtplib.SMTPAuthenticationError) or error.code in _BAD_LOGIN:
            return Retry(f"{self._peer} refuses our login; check its user name and password: {said}")
        if isinstance(error, aiosmtplib.SMTPSenderRefused):
            return Retry(f"{self._peer} refuses our sender {self._settings.sender}: {said}")
        if isinstance(error, (aiosmtplib.SMTPRecipientRefused, aiosmtplib.SMTPDataError)):
            return Rejected(said) if 500 <= error.code < 600 else Retry(said)
        return Retry(f"{self._peer} answers {said}")

    async def _transact(self, client: aiosmtplib.SMTP, address: str, message: Message) -> Outcome:
        sender = self._sender_address
        international = not (address + sender.addr_spec).isascii()
        if international:
            await client.ehlo()
            if not client.supports_extension("smtputf8"):
                return Rejected(f"mail not sent: {self._peer} cannot send to the international address {address}")
        encoding = "utf-8" if international else "ascii"
        mail = compose(sender, address, message)
        await client.mail(sender.addr_spec, options=["SMTPUTF8"] if international else [], encoding=encoding)
        await client.rcpt(address, encoding=encoding)
        response = await client.data(mail.as_bytes())
        return Delivered(f"{response.code} {response.message}")

    @property
    def _sender_address(self) -> Address:
        sender = _sender(self._settings.sender)
        assert sender is not None, "SmtpSettings accepts no other"
        return sender


def address_problem(address: str) -> str | None:
    """Return why `address` is no e-mail address that can be written to, or None."""
    if len(address) > MAX_ADDRESS_CHARACTERS:
        return f"its address is longer than {MAX_ADDRESS_CHARACTERS} characters (RFC 5321)"
    dots_fit = all(address.partition("@")[0].split("."))
    if not _ADDRESS.fullmatch(address) or not dots_fit or _ENCODED_WORD in address:
        return f"{address} is not an e-mail address"
    return None


def compose(sender: Address, address: str, message: Message) -> EmailMessage:
    """Return the e-mail of a message: headers that cannot be broken out of, a UTF-8 body in 7-bit transport.

    Message-ID is the notification's, so that a copy sent twice is recognised as one. In-Reply-To and References
    name a root that was never sent: mail programs group by it all the same (RFC 5256). Auto-Submitted keeps
    vacation responders quiet (RFC 3834).
    """
    mail = EmailMessage(policy=_policy(sender.addr_spec + address))
    mail["Subject"] = clean_line(message.subject.replace(_ENCODED_WORD, "= ?"), MAX_SUBJECT_CHARACTERS)
    mail["From"] = sender
    mail["To"] = _mailbox(address)
    mail["Date"] = message.sent_at
    mail["Message-ID"] = f"<{message.notification_id}@{_id_domain(sender)}>"
    mail["Auto-Submitted"] = "auto-generated"
    thread = _UNSAFE_IN_ID.sub("-", message.reply_thread[:MAX_THREAD_CHARACTERS]).strip(".-")
    if thread:
        root = f"<thread.{thread}@{_id_domain(sender)}>"
        mail["In-Reply-To"] = root
        mail["References"] = root
    mail.set_content(_clean_text(message.text))
    return mail


def _policy(addresses: str) -> EmailPolicy[EmailMessage]:
    base = SMTP if addresses.isascii() else SMTPUTF8
    return base.clone(header_factory=_REGISTRY, cte_type="7bit")


def _id_domain(sender: Address) -> str:
    """Return the sender's domain in ASCII: identifiers are compared byte by byte on their way."""
    return _UNSAFE_IN_ID.sub("-", sender.domain)


def _clean_text(text: str) -> str:
    """Return the body without control characters but tab and line feed, bounded."""
    bounded = text[:MAX_TEXT_CHARACTERS]
    if len(text) > MAX_TEXT_CHARACTERS:
        bounded += "\n\n[cut here: the whole text is with the incident]"
    lines = bounded.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(
        char if char in "\t\n" or unicodedata.category(char) not in ("Cc", "Cs") else "\N{REPLACEMENT CHARACTER}"
        for char in lines
    )


def _sender(text: str) -> Address | None:
    """Return the one address of a From value, or None if it is not exactly one.

    Read by hand: the parser of `email` raises IndexError for some of what people mistype.
    """
    if not text.isprintable() or _ENCODED_WORD in text:
        return None
    match = _NAMED_ADDRESS.fullmatch(text.strip())
    name, spec = (match["name"].strip().strip('"'), match["spec"]) if match else ("", text.strip())
    return _mailbox(spec, name) if address_problem(spec) is None else None


def _mailbox(address: str, name: str = "") -> Address:
    local, _, domain = address.rpartition("@")
    return Address(name, local, domain)


def _own_name() -> str:
    """Return this machine's name for EHLO: its host name if qualified, else an address literal (RFC 5321, 4.1.3).

    Not `socket.getfqdn`, which asks the DNS in reverse and in many containers waits half a minute for no answer.
    """
    name = socket.gethostname()
    return name if "." in name and name.isascii() and _is_one_word(name) else "[127.0.0.1]"


def _is_one_word(text: str) -> bool:
    return bool(text) and text.isprintable() and " " not in text


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise refuse(Code.MISCONFIGURED, message, "Correct the mail settings and start again.")


async def _say_goodbye(client: aiosmtplib.SMTP, deadline: float | None) -> None:
    """Send QUIT where somebody still listens; the outcome stands, so a failed farewell changes nothing."""
    if not client.is_connected:
        return
    try:
        async with asyncio.timeout_at(deadline):
            await client.quit(timeout=_QUIT_SECONDS)
    except (aiosmtplib.SMTPException, OSError, TimeoutError):
        return
