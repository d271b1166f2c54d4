"""Settings: environment (`TOCSIN_*`), a `.env` file, `tocsin.toml` → one frozen, validated object.

All wrong values are reported together. The order of precedence is environment, `.env`, TOML, default.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from tocsin.domain.access import Role
from tocsin.domain.incident import Severity
from tocsin.domain.plural import number_of
from tocsin.errors import Code, refuse
from tocsin.tlog.note import COSIGNATURE, VerifierKey, check_name

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

DEFAULT_PORT = 8420
COPY_KINDS = ("file:///", "git+file:///", "git+https://", "git+http://", "git+ssh://", "s3://")
_UNREAD = re.compile(r'error parsing value for field "(?P<name>\w+)"')
_WORDS = {
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float"), "must be a whole number"),
    **dict.fromkeys(("float_parsing", "float_type"), "must be a number"),
    **dict.fromkeys(("bool_parsing", "bool_type"), "must be true or false"),
    **dict.fromkeys(("enum", "literal_error"), "must be {expected}"),
    **dict.fromkeys(("string_too_short", "too_short"), "must have at least {min_length} characters"),
    **dict.fromkeys(("ip_v4_network", "ip_v6_network"), "must be networks, such as 10.0.0.0/8"),
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "uuid_parsing": "must be a UUID",
    "value_error": "{error}",
}
"""What pydantic's kinds of errors mean to whoever typed the value."""
MOST_PROCESSES_UNASKED = 4
"""Each takes memory and connections to the database; who has more cores for them says so."""


def default_data_dir() -> Path:
    """Return where the embedded database lives: /var/lib/tocsin for root, the user's data directory otherwise."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/tocsin")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "tocsin"


class Settings(BaseSettings):
    """Everything that an operator can set. Names in the environment: `TOCSIN_` and the field's name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix="TOCSIN_",
        env_file=".env",
        env_ignore_empty=True,
        toml_file="tocsin.toml",
        frozen=True,
        extra="ignore",
    )

    database_url: SecretStr | None = Field(None, description="PostgreSQL 15 or newer; unset: the embedded server.")
    migrate_database_url: SecretStr | None = Field(
        None, description="A more privileged database sign-in, for migrations alone; unset: TOCSIN_DATABASE_URL."
    )
    data_dir: Path = Field(default_factory=default_data_dir, description="Where the embedded database lives.")
    host: str = Field("127.0.0.1", description="The address to listen on.")
    port: int = Field(DEFAULT_PORT, ge=0, le=65535, description="The port to listen on (0: any free one).")
    secret_key: SecretStr | None = Field(
        None,
        min_length=32,
        description="Signs outgoing webhooks, seals second factors; 32 characters or more. Unset: made at first start.",
    )
    public_url: str | None = Field(None, description="How people reach this server; written into pages.")
    secure_cookies: bool | None = Field(None, description="Cookies over https only; unset: if the public URL is https.")
    pool_size: int = Field(12, ge=2, le=100, description="Database connections a process may hold.")
    web_processes: int = Field(
        0, ge=0, le=64, description="Processes that answer requests (0: one for each core, at most 4)."
    )

    dedup_window: int = Field(
        300, ge=0, le=86400, description="Seconds in which a report joins the last incident even if that is closed."
    )
    incident_threshold: Severity = Field(Severity.HIGH, description="From which severity an error opens an incident.")
    storm_threshold: int = Field(
        10, ge=1, le=10_000, description="New incidents of a project within a minute, beyond which it is one storm."
    )
    session_blocking: bool = Field(False, description="An unacknowledged CRITICAL incident blocks sessions after 2 h.")
    require_totp: tuple[Role, ...] = Field(
        (), description="Roles that need a second factor to sign in, as JSON: '[\"superadmin\"]'."
    )
    oidc_issuer: str | None = Field(
        None, pattern=r"^https?://[!-~]+$", description="The OpenID provider by which people may sign in; unset: none."
    )
    oidc_client_id: str | None = Field(None, min_length=1, description="What the provider calls this installation.")
    oidc_client_secret: SecretStr | None = Field(None, description="Goes with the client id; unset: a public client.")
    oidc_role: Literal[Role.RESPONDER, Role.AUDITOR, Role.MEMBER] | None = Field(
        None, description="The role of those who sign in by the provider and are not known yet; unset: refused."
    )
    session_hours: int = Field(12, ge=1, le=720, description="How long a sign-in lasts.")

    signer_dir: Path | None = Field(
        None,
        description="Where the log's signer lives; unset: in the data directory, with the embedded database or `up`.",
    )
    log_origin: str | None = Field(
        None, description="The log's name in its checkpoints, like `example.org/tocsin`; fixed with the first key."
    )

    log_witnesses: tuple[str, ...] = Field(
        (), description="Who cosigns the log, as JSON: '[\"VKEY URL\", …]' (c2sp.org/tlog-witness)."
    )
    log_timestamp_url: str | None = Field(None, description="The time-stamp authority (RFC 3161) for the log.")
    log_timestamp_every: int = Field(600, ge=1, le=86400, description="Seconds between two time stamps, at least.")
    log_copies: tuple[str, ...] = Field(
        (), description='Where copies of the log go, as JSON: \'["file:///…", "git+https://…", "s3://…"]\'.'
    )
    log_copy_every: int = Field(60, ge=1, le=86400, description="Seconds between two updates of a copy, at least.")
    log_stale_after: int = Field(
        3600,
        ge=60,
        le=2_592_000,
        description="Seconds that the log may not be sealed, signed or vouched for before it is an incident.",
    )
    log_s3_access_key: str | None = Field(None, description="The access key for copies in S3.")
    log_s3_secret_key: SecretStr | None = Field(None, description="Goes with the access key.")

    watchdog_url: str | None = Field(
        None,
        pattern=r"^https?://[!-~]+$",
        description="Is called while every promise holds; who is there raises the alarm when the calls stay away.",
    )
    watchdog_every: int = Field(60, ge=1, le=86400, description="Seconds between two calls of the watchdog's URL.")
    watchdog_fail_url: str | None = Field(
        None, pattern=r"^https?://[!-~]+$", description="Is called in its place while a promise is broken."
    )

    smtp_host: str | None = Field(None, description="The mail server for pages; unset: no mail can be sent.")
    smtp_port: int = Field(587, ge=1, le=65535, description="587 for starttls, 465 for tls.")
    smtp_username: str | None = Field(None, description="Unset: the mail server is not signed in to.")
    smtp_password: SecretStr | None = Field(None, description="Goes with the user name.")
    smtp_security: Literal["none", "starttls", "tls"] = Field("starttls", description="`starttls`, `tls` or `none`.")
    smtp_sender: str = Field("tocsin@localhost", description="The From address of pages.")
    slack_token: SecretStr | None = Field(
        None, description="The bot token (xoxb-…) of your Slack app; unset: Slack is reached by incoming webhooks only."
    )
    slack_signing_secret: SecretStr | None = Field(
        None, description="Your Slack app's signing secret; with it, Slack messages have a button that acknowledges."
    )
    slack_api_url: str = Field(
        "https://slack.com/api", pattern=r"^https?://[!-~]+$", description="Where Slack's API is."
    )
    gateway_url: str | None = Field(
        None,
        pattern=r"^https?://[!-~]+$",
        description="Your gateway for SMS and calls (docs/reference/gateway.md); unset: nobody is called.",
    )
    webhook_allowed_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        (), description="Inside networks that addresses of people may lead to, as JSON: '[\"10.0.0.0/8\"]'."
    )
    delivery_timeout: float = Field(20.0, gt=0, le=45, description="Seconds that one delivery may take.")

    bootstrap_email: str | None = Field(None, description="First start only: the superadmin's e-mail.")
    bootstrap_password: SecretStr | None = Field(
        None, min_length=12, description="First start only: their password, 12 characters or more."
    )
    bootstrap_token: SecretStr | None = Field(None, min_length=20, description="First start only: their API token.")
    bootstrap_key: str | None = Field(None, description="First start only: project 1's intake key, 32 hex digits.")

    @field_validator("incident_threshold")
    @classmethod
    def _loud_errors_stay_loud(cls, value: Severity) -> Severity:
        if value is Severity.CRITICAL:
            raise ValueError("HIGH errors always open an incident: the threshold may be LOW, MEDIUM or HIGH")
        return value

    @field_validator("bootstrap_key")
    @classmethod
    def _key_is_hex(cls, value: str | None) -> str | None:
        if value is not None and (len(value) != 32 or set(value) - set("0123456789abcdef")):
            raise ValueError("must be 32 lower-case hex digits")
        return value

    @field_validator("log_origin")
    @classmethod
    def _origin_is_a_name(cls, value: str | None) -> str | None:
        if value is not None:
            check_name(value)
        return value

    @field_validator("log_witnesses")
    @classmethod
    def _witnesses_have_a_key_and_a_place(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            vkey, _, url = text.partition(" ")
            if VerifierKey.parse(vkey).algorithm != COSIGNATURE or not url.startswith(("https://", "http://")):
                raise ValueError(f"{text[:60]!r} is not the vkey of a witness, a space, and its URL")
        return value

    @field_validator("log_copies")
    @classmethod
    def _copies_have_a_known_kind(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            if not text.startswith(COPY_KINDS):
                raise ValueError(f"{text[:60]!r} does not begin with one of {', '.join(COPY_KINDS)}")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # the signature is pydantic's
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the TOML file below the environment and `.env`."""
        return init_settings, env_settings, dotenv_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def dedup_window_time(self) -> timedelta:
        """Return the dedup window as a duration."""
        return timedelta(seconds=self.dedup_window)

    @property
    def number_of_web_processes(self) -> int:
        """Return how many processes answer requests on this machine."""
        return self.web_processes or min(_cores(), MOST_PROCESSES_UNASKED)

    @property
    def base_url(self) -> str:
        """Return how people reach this server, without a trailing slash."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (self.public_url or f"http://{host}:{self.port}").rstrip("/")


def _cores() -> int:
    """Return how many cores this process may use, which in a container or under `taskset` are not all there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Source(StrEnum):
    """Where a setting's value comes from."""

    ENVIRONMENT = "environment"
    DOTENV = ".env"
    TOML = "tocsin.toml"
    DEFAULT = "default"
    GIVEN = "command line"


def sources_of(settings: Settings) -> dict[str, Source]:
    """Return for each setting where its value comes from, asking the sources in their order of precedence.

    The files are read as they are now; a value that no source names and that is not the default was given at the start.
    Raises MISCONFIGURED where a file cannot be read any more.
    """
    try:
        said = {
            Source.ENVIRONMENT: EnvSettingsSource(Settings)(),
            Source.DOTENV: DotEnvSettingsSource(Settings)(),
            Source.TOML: TomlConfigSettingsSource(Settings)(),
        }
    except ValueError as error:
        hint = "It was changed since the start: correct it, then start again."
        raise refuse(Code.MISCONFIGURED, f".env or tocsin.toml cannot be read: {str(error)[:200]}.", hint) from None
    return {name: _source_of(settings, name, said) for name in Settings.model_fields}


def _source_of(settings: Settings, name: str, said: Mapping[Source, Mapping[str, object]]) -> Source:
    named = next((source for source, values in said.items() if name in values), None)
    if named is not None:
        return named
    default = Settings.model_fields[name].get_default(call_default_factory=True, validated_data={})
    return Source.DEFAULT if getattr(settings, name) == default else Source.GIVEN


def load_settings(**overrides: object) -> Settings:
    """Read the settings; raise MISCONFIGURED naming every wrong one."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # pydantic checks the types
    except ValidationError as error:
        wrong = dict.fromkeys(f"  TOCSIN_{str(item['loc'][0]).upper()}: {in_words(item)}" for item in error.errors())
        problem = f"{number_of(len(wrong), 'wrong setting')}:\n" + "\n".join(wrong)
    except ValueError as error:
        unread = _UNREAD.search(str(error))
        shown = f'TOCSIN_{unread["name"].upper()}: must be a list in JSON, such as ["one", "two"].' if unread else None
        problem = shown or f".env or tocsin.toml cannot be read: {str(error)[:200]}."
    hint = "Correct them in the environment, .env or tocsin.toml; docs/reference/settings.md lists them all."
    raise refuse(Code.MISCONFIGURED, problem, hint)


def in_words(item: ErrorDetails) -> str:
    """Return what pydantic says is wrong with a value as what it must be; a check of our own says so itself."""
    words = _WORDS.get(item["type"])
    return words.format_map(item.get("ctx", {})) if words else item["msg"]
