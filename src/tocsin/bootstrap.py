"""Settings → wired dependencies. The only place where things are put together."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from tocsin import embedded, ids
from tocsin.address_guard import AddressGuard, parse_networks
from tocsin.app.accounts import FirstStart, first_start
from tocsin.app.links import Links
from tocsin.app.second_factor import Vault
from tocsin.app.vouch import CopyVoucher, StampVoucher, Voucher, WitnessVoucher
from tocsin.app.watchdog import Watchdog
from tocsin.app.work import App
from tocsin.channels import Channel
from tocsin.channels.apprise import AppriseChannel
from tocsin.channels.gateway import GatewayChannel, Kind
from tocsin.channels.http import GuardedHttp
from tocsin.channels.ntfy import NtfyChannel
from tocsin.channels.slack import SlackChannel
from tocsin.channels.slack_app import SlackAppChannel
from tocsin.channels.smtp import Security, SmtpChannel, SmtpSettings
from tocsin.channels.webhook import WebhookChannel
from tocsin.channels.working import working_channels
from tocsin.clock import Clock, system_clock
from tocsin.errors import Code, refuse
from tocsin.outside import Copy
from tocsin.outside.directory import DirectoryCopy
from tocsin.outside.git import GitCopy
from tocsin.outside.http import Http
from tocsin.outside.s3 import Bucket, Credentials, S3Copy
from tocsin.outside.witness import Witness
from tocsin.settings import Settings
from tocsin.signing.signer import Signer
from tocsin.store.database import Database
from tocsin.store.migrate import migrate, pending_migrations
from tocsin.store.provision import DATABASE, provision
from tocsin.tlog.note import VerifierKey

Progress = Callable[[str], None]
SHORTEST_KEY_BYTES = 32
DEFAULT_BRANCH = "tocsin-log"
ANYWHERE = AddressGuard(parse_networks("0.0.0.0/0 ::/0"))
_PLAIN = re.compile(r"[A-Za-z0-9._/-]+")
_NEW_PRIVATE_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL


@dataclass(frozen=True, slots=True)
class Sources:
    """How to reach the database: as the application, and as somebody who may migrate."""

    application: str
    migrator: str
    embedded: bool


def _silent(_: str) -> None:
    return


@asynccontextmanager
async def database_sources(settings: Settings, progress: Progress = _silent) -> AsyncIterator[Sources]:
    """Give the connection strings; without TOCSIN_DATABASE_URL the embedded server runs for the time of the block."""
    if settings.database_url is not None:
        application = settings.database_url.get_secret_value()
        privileged = settings.migrate_database_url
        yield Sources(application, privileged.get_secret_value() if privileged else application, embedded=False)
        return
    server = await asyncio.to_thread(embedded.acquire, settings.data_dir, progress=progress)
    try:
        superuser = server.superuser
        await provision(server.conninfo(superuser, "postgres"))
        yield Sources(server.conninfo("tocsin_app", DATABASE), server.conninfo(superuser, DATABASE), embedded=True)
    finally:
        await asyncio.to_thread(server.release)


@asynccontextmanager
async def wired(sources: Sources, settings: Settings, clock: Clock = system_clock) -> AsyncIterator[App]:
    """Give the application on a database whose schema is current; raise MISCONFIGURED when it is not."""
    if pending := await pending_migrations(sources.application):
        raise refuse(
            Code.MISCONFIGURED,
            f"The schema is not up to date: {', '.join(pending)} is missing.",
            "Bring it up to date: `tocsin migrate`.",
        )
    database = Database(sources.application, size=settings.pool_size)
    await database.open()
    try:
        yield App(database, settings, clock)
    finally:
        await database.close()


async def prepare(sources: Sources, app_settings: Settings, clock: Clock = system_clock) -> FirstStart | None:
    """Migrate, and make the first user when there is none; return what was made."""
    await migrate(sources.migrator)
    async with wired(sources, app_settings, clock) as app, app.work() as work:
        return await first_start(work)


@asynccontextmanager
async def outbound_channels(settings: Settings) -> AsyncIterator[Mapping[str, Channel]]:
    """Give the channels that are configured (`working_channels`)."""
    async with AsyncExitStack() as stack:
        guard = AddressGuard(settings.webhook_allowed_networks)
        people = GuardedHttp(guard, timeout_seconds=settings.delivery_timeout)
        # An address that the operator set may lead anywhere: a gateway often lives on the same machine, and opening
        # the inside for it would open it for the addresses of people too.
        operators = GuardedHttp(ANYWHERE, timeout_seconds=settings.delivery_timeout)
        for http in (people, operators):
            await stack.enter_async_context(http)
        key = secret_key(settings)
        channels: dict[str, Channel] = {
            "webhook": WebhookChannel(people, lambda address: _receivers_key(key, address)),
            "slack": SlackChannel(people),
            "ntfy": NtfyChannel(people),
            "apprise": AppriseChannel(guard, timeout_seconds=settings.delivery_timeout),
        }
        if settings.smtp_host:
            channels["email"] = SmtpChannel(_smtp_settings(settings, settings.smtp_host))
        if settings.slack_token:
            token, interactive = settings.slack_token.get_secret_value(), settings.slack_signing_secret is not None
            channels["slack_app"] = SlackAppChannel(operators, settings.slack_api_url, token, interactive=interactive)
        if url := settings.gateway_url:
            for kind in Kind:
                channels[kind.value] = GatewayChannel(operators, url, _receivers_key(key, url), kind)
        working = working_channels(settings)
        yield {name: channel for name, channel in channels.items() if name in working}


def _receivers_key(key: bytes, url: str) -> bytes:
    """Return the key that signs what is sent to a URL: each receiver has its own."""
    return hmac.digest(key, url.encode(), "sha256")


def _smtp_settings(settings: Settings, host: str) -> SmtpSettings:
    return SmtpSettings(
        host=host,
        port=settings.smtp_port,
        sender=settings.smtp_sender,
        username=settings.smtp_username or "",
        password=settings.smtp_password.get_secret_value() if settings.smtp_password else "",
        security=Security(settings.smtp_security),
        timeout_seconds=settings.delivery_timeout,
    )


def signer_directory(settings: Settings, *, alone: bool) -> Path | None:
    """Return where the signer of the log lives for this process; None: others sign.

    On an installation of one machine (`tocsin up`, or the embedded database) it needs no setting.
    """
    if settings.signer_dir is not None:
        return settings.signer_dir
    return settings.data_dir / "signer" if alone or settings.database_url is None else None


def signer_of(settings: Settings, *, alone: bool = False) -> Signer | None:
    """Return the signer of this process, its key made at the first start; None when others sign."""
    directory = signer_directory(settings, alone=alone)
    if directory is None:
        return None
    signer = Signer(directory)
    signer.make(settings.log_origin)
    return signer


@asynccontextmanager
async def vouchers_of(settings: Settings, clock: Clock = system_clock) -> AsyncIterator[list[Voucher]]:
    """Give those outside who are to vouch for the log, as the settings name them."""
    guard = AddressGuard(settings.webhook_allowed_networks)
    async with Http(guard, timeout_seconds=settings.delivery_timeout) as http:
        vouchers: list[Voucher] = [WitnessVoucher(http, _witness(text)) for text in settings.log_witnesses]
        if settings.log_timestamp_url:
            every = timedelta(seconds=settings.log_timestamp_every)
            vouchers.append(StampVoucher(http, settings.log_timestamp_url, every))
        every = timedelta(seconds=settings.log_copy_every)
        for text in settings.log_copies:
            vouchers.append(
                CopyVoucher(f"copy {_without_password(text)}"[:300], _copy(text, settings, http, clock), every)
            )
        yield vouchers


@asynccontextmanager
async def watchdog_of(settings: Settings) -> AsyncIterator[Watchdog | None]:
    """Give what calls somebody outside for as long as every promise holds; None where nobody is to be called."""
    if settings.watchdog_url is None:
        yield None
        return
    guard = AddressGuard(settings.webhook_allowed_networks)
    async with Http(guard, timeout_seconds=settings.delivery_timeout) as http:
        every = timedelta(seconds=settings.watchdog_every)
        yield Watchdog(http, settings.watchdog_url, settings.watchdog_fail_url, every)


def _witness(text: str) -> Witness:
    vkey, _, url = text.partition(" ")
    return Witness(VerifierKey.parse(vkey), url.strip())


def _copy(text: str, settings: Settings, http: Http, clock: Clock) -> Copy:
    kind, _, _ = text.partition("://")
    if kind == "file":
        return DirectoryCopy(Path(text.removeprefix("file://")))
    if kind == "s3":
        return _bucket(text, settings, http, clock)
    remote, _, branch = text.removeprefix("git+").partition("#")
    branch = branch or DEFAULT_BRANCH
    # The clone is a cache: it is made anew from the remote when it is gone. Two branches must not share one.
    clone = settings.data_dir / "log-copies" / hashlib.sha256(f"{remote}#{branch}".encode()).hexdigest()[:16]
    return GitCopy(remote.removeprefix("file://"), branch, clone)


def _bucket(text: str, settings: Settings, http: Http, clock: Clock) -> S3Copy:
    parts = urlsplit(text)
    said = dict(parse_qsl(parts.query))
    region = said.pop("region", "us-east-1")
    endpoint = said.pop("endpoint", f"https://s3.{region}.amazonaws.com")
    lock = said.pop("lock_days", None)
    prefix = parts.path.strip("/")
    plain = _PLAIN.fullmatch(f"{parts.netloc}/{prefix}") and (lock is None or (lock.isdecimal() and len(lock) <= 5))
    if said or not parts.netloc or not plain or not settings.log_s3_access_key or not settings.log_s3_secret_key:
        raise refuse(
            Code.MISCONFIGURED,
            f"TOCSIN_LOG_COPIES: {text[:100]} cannot be used.",
            "It reads s3://BUCKET/PREFIX?endpoint=URL&region=NAME&lock_days=NUMBER, of letters, digits and . _ -, "
            "with TOCSIN_LOG_S3_ACCESS_KEY and TOCSIN_LOG_S3_SECRET_KEY.",
        )
    credentials = Credentials(settings.log_s3_access_key, settings.log_s3_secret_key.get_secret_value())
    bucket = Bucket(endpoint, region, parts.netloc, f"{prefix}/" if prefix else "", int(lock) if lock else None)
    return S3Copy(http, bucket, credentials, clock)


def _without_password(text: str) -> str:
    """Return an address as it may be shown."""
    return re.sub(r"//[^/@]*@", "//", text)


def signer_at_hand(settings: Settings) -> Signer | None:
    """Return the signer whose key is on this machine already; None when there is none."""
    directory = signer_directory(settings, alone=True)
    return Signer(directory) if directory is not None and Signer(directory).exists else None


def secret_key(settings: Settings) -> bytes:
    """Return the key that signs webhooks and seals second factors.

    It is TOCSIN_SECRET_KEY, or one made once and kept in the data directory.
    """
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value().encode()
    return _kept_key(settings.data_dir / "secret_key")


def links_of(settings: Settings) -> Links:
    """Return what makes and reads the links in pages."""
    return Links(secret_key(settings))


def vault_of(settings: Settings) -> Vault:
    """Return what seals the secrets of second factors."""
    return Vault(secret_key(settings))


def _kept_key(path: Path) -> bytes:
    try:
        if not path.exists():
            _keep(path, ids.new_secret())
        key = path.read_bytes()
    except OSError as error:
        raise refuse(
            Code.MISCONFIGURED,
            f"Cannot keep a secret key in {path}: {error.strerror}.",
            "Set TOCSIN_SECRET_KEY (32 characters or more), or TOCSIN_DATA_DIR to a directory that can be written.",
        ) from None
    if len(key) < SHORTEST_KEY_BYTES:
        message = f"The secret key in {path} has {len(key)} bytes, fewer than {SHORTEST_KEY_BYTES}."
        raise refuse(Code.MISCONFIGURED, message, "Remove the file, and a new key is made; or set TOCSIN_SECRET_KEY.")
    return key


def _keep(path: Path, secret: str) -> None:
    """Write a new file whole or not at all; one that another process made at the same moment stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{ids.new_id().hex}")
    with os.fdopen(os.open(draft, _NEW_PRIVATE_FILE, 0o600), "w") as file:
        file.write(secret)
    with suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()
