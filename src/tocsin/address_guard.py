"""Keeps outgoing requests from being aimed at the inside: at this machine, its neighbours, its cloud's metadata.

Whoever may write down the address of a webhook, a witness or a copy chooses where this server connects to
(server-side request forgery, CWE-918). A name is therefore judged by the addresses that it resolves to, in the very
lookup whose result is connected to, so a name that answers differently the second time (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from aiohttp import AddrInfoType, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

Network = IPv4Network | IPv6Network

MAX_URL_CHARACTERS = 2048
MAX_ADDRESSES_TRIED = 8
MAX_CONNECTIONS = 100

# IANA's special-purpose registry for IPv4, written out: `ipaddress.is_global` changed between patch releases.
_INSIDE_IPV4: tuple[tuple[IPv4Network, str], ...] = tuple(
    (IPv4Network(network), kind)
    for network, kind in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared with the provider (carrier-grade NAT)"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local (cloud metadata lives there)"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved for protocols"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "reserved for benchmarks"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)

# Of IPv6 only global unicast is outside, less what is special within it. 6to4 and Teredo embed an IPv4 address
# for a relay to unpack; both are retired, so no receiver is lost by refusing them whole.
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_INSIDE_IPV6: tuple[tuple[IPv6Network, str], ...] = tuple(
    (IPv6Network(network), kind)
    for network, kind in (
        ("2001::/23", "reserved for protocols (Teredo among them)"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "documentation"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("ff00::/8", "multicast"),
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")

_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?", re.ASCII | re.IGNORECASE)
_NUMBER_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII | re.IGNORECASE)


class AddressRefusedError(Exception):
    """An address that is not connected to; its text says why and what to do.

    Not an `OSError`: aiohttp would dress that up as a failed connection, which is tried again.
    """


@dataclass(frozen=True, slots=True)
class AddressGuard:
    """The operator's rule where requests may go: anywhere outside, and into the `allowed` networks."""

    allowed: tuple[Network, ...] = ()

    def refusal(self, address: str) -> str | None:
        """Return why the IP address `address` may not be connected to, or None if it may.

        Raises ValueError if it is no IP address.
        """
        judged = _unwrapped(ip_address(address))
        kind = _inside_kind(judged)
        if kind is None or any(judged in network for network in self.allowed):
            return None
        return (
            f"the address {address} is inside ({kind}); if it is meant, allow it with TOCSIN_WEBHOOK_ALLOWED_NETWORKS"
        )

    def checked_url(self, text: str) -> URL:
        """Return the address as the URL to request. Raises AddressRefusedError.

        The URL object itself is what is requested, so no second parser can read another host out of `text`.
        A host name passes here; what it resolves to is judged by `GuardedResolver`.
        """
        url = _parsed(text)
        host = url.raw_host or ""
        try:
            reason = self.refusal(host)
        except ValueError:
            reason = _host_name_problem(host)
        if reason is not None:
            raise AddressRefusedError(reason)
        return url

    def guarded_socket(self, addr_info: AddrInfoType) -> socket.socket:
        """Return the socket for one connection; aiohttp's `socket_factory`. Raises AddressRefusedError.

        The last wall: it sees the address that is connected to, whichever way it came here.
        """
        family, kind, protocol, _, peer = addr_info
        reason = self.refusal(str(peer[0]))
        if reason is not None:
            raise AddressRefusedError(reason)
        return socket.socket(family, kind, protocol)


def guarded_session(guard: AddressGuard, resolver: AbstractResolver | None = None) -> ClientSession:
    """Return a session whose every connection the guard has judged; it keeps no cookies and follows no proxy.

    Bound each request with `asyncio.timeout`, and let it follow no redirects. `resolver` is the caller's to close.
    """
    connector = TCPConnector(
        resolver=GuardedResolver(guard, resolver or ThreadedResolver()),
        use_dns_cache=False,
        socket_factory=guard.guarded_socket,
        limit=MAX_CONNECTIONS,
        # A connection kept from the last request may be dead by now, which shows only after a POST.
        force_close=True,
    )
    return ClientSession(
        connector=connector,
        # `asyncio.timeout` around a request is the one clock of an attempt.
        timeout=ClientTimeout(total=None, sock_connect=None),
        cookie_jar=DummyCookieJar(),
        # A proxy of the environment would connect for us, past the guard.
        trust_env=False,
        auto_decompress=False,
    )


class GuardedResolver(AbstractResolver):
    """Another resolver's answers, less the addresses that the guard refuses."""

    def __init__(self, guard: AddressGuard, resolver: AbstractResolver) -> None:
        self._guard = guard
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the permitted addresses of `host`, at most MAX_ADDRESSES_TRIED.

        Raises AddressRefusedError if it has addresses but none is permitted, OSError if it has none.
        """
        found = await self._resolver.resolve(host, port, family)
        if not found:
            raise OSError(f"{host} has no address")
        reasons = [self._guard.refusal(result["host"]) for result in found]
        permitted = [result for result, reason in zip(found, reasons, strict=True) if reason is None]
        if not permitted:
            raise AddressRefusedError(f"{host} leads inside: {reasons[0]}")
        return permitted[:MAX_ADDRESSES_TRIED]

    async def close(self) -> None:
        await self._resolver.close()


def parse_networks(text: str) -> tuple[Network, ...]:
    """Read the operator's list: networks or single addresses, separated by commas or spaces.

    Raises ValueError naming the first one that is neither.
    """
    return tuple(ip_network(part) for part in text.replace(",", " ").split())


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that a mapped (RFC 4291) or NAT64 (RFC 6052) address leads to, else itself."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _inside_kind(address: IPv4Address | IPv6Address) -> str | None:
    if isinstance(address, IPv4Address):
        return next((kind for network, kind in _INSIDE_IPV4 if address in network), None)
    kind = next((kind for network, kind in _INSIDE_IPV6 if address in network), None)
    if kind is None and address not in _GLOBAL_UNICAST:
        return "not global unicast"
    return kind


def _parsed(text: str) -> URL:
    if len(text) > MAX_URL_CHARACTERS:
        raise AddressRefusedError(f"its address is longer than {MAX_URL_CHARACTERS} characters")
    if not text.isprintable() or " " in text:
        raise AddressRefusedError("its address contains spaces or control characters")
    try:
        url = URL(text)
    except ValueError as error:
        raise AddressRefusedError("its address is not a URL") from error
    problem = _url_problem(url)
    if problem is not None:
        raise AddressRefusedError(problem)
    return url


def _url_problem(url: URL) -> str | None:
    if url.scheme not in ("http", "https"):
        return "its address must start with https:// or http://"
    if not url.raw_host:
        return "its address names no host"
    if url.raw_user is not None or url.raw_password is not None:
        return "its address contains a user name; put a secret into the path or verify the signature"
    if not url.port:
        return "its port must be between 1 and 65535"
    return None


def _host_name_problem(host: str) -> str | None:
    """Return what is wrong with a host that is no IP address in its usual form, or None.

    A last label that is a number makes it an IPv4 address in a disguise that the C library still reads
    (127.1, 2130706433, 0x7f.1, 0177.0.0.1; WHATWG URL, "ends in a number"): refused, whatever it leads to.
    """
    if _NUMBER_LABEL.fullmatch(host.rstrip(".").rpartition(".")[2]):
        return f"the host {host} is a number; write an IPv4 address as four decimal numbers"
    if not _HOST_NAME.fullmatch(host):
        return f"the host {host} is not a valid name"
    return None
