"""Webhooks cannot be aimed at the inside, however the address is written or resolved."""

from __future__ import annotations

import socket
from ipaddress import ip_network

import pytest
from aiohttp import ClientSession, TCPConnector

from tests.channels.peers import FixedResolver
from tocsin.address_guard import (
    MAX_ADDRESSES_TRIED,
    AddressGuard,
    AddressRefusedError,
    GuardedResolver,
    parse_networks,
)

pytestmark = pytest.mark.anyio

INSIDE = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1",
    "100::1",
    "2001::1",
    "2001:0:7f00:1::",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%lo",
    "fec0::1",
    "ff02::1",
]

OUTSIDE = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2001:200::1",
    "2606:4700::1111",
    "2a00:1450:4001::1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
]


@pytest.mark.parametrize("address", INSIDE)
def test_inside_address_is_refused_with_the_way_to_allow_it(address: str) -> None:
    reason = AddressGuard().refusal(address)
    assert reason is not None
    assert address in reason
    assert "TOCSIN_WEBHOOK_ALLOWED_NETWORKS" in reason


@pytest.mark.parametrize("address", OUTSIDE)
def test_outside_address_is_permitted(address: str) -> None:
    assert AddressGuard().refusal(address) is None


@pytest.mark.parametrize("address", [a for a in INSIDE if ":" not in a or "." in a])
def test_literal_in_a_url_is_judged_like_the_address(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(AddressRefusedError, match="inside"):
        AddressGuard().checked_url(f"http://{host}:8080/hook")


@pytest.mark.parametrize(
    "host",
    [
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0x7f.0.0.0x1",
        "017700000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "127.0.0.1..",
        "134744072",
        "１２７.0.0.1",
        "①②⑦.0.0.1",
        "127。0。0。1",
        "%31%32%37.0.0.1",
        "1.2.3.4.5",
        "999.1.1.1",
        "[::1%25lo]",
    ],
)
def test_disguised_literal_is_refused(host: str) -> None:
    with pytest.raises(AddressRefusedError):
        AddressGuard(parse_networks("8.8.8.8")).checked_url(f"http://{host}/hook")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://example.org/x", "https://"),
        ("file:///etc/passwd", "https://"),
        ("unix:/var/run/docker.sock", "https://"),
        ("ws://example.org/", "https://"),
        ("//example.org/x", "https://"),
        ("example.org/x", "https://"),
        ("", "https://"),
        ("http:///x", "no host"),
        ("http:example.org", "no host"),
        ("https://user@example.org/", "user name"),
        ("https://user:secret@example.org/", "user name"),
        ("https://:secret@example.org/", "user name"),
        ("http://example.org:0/", "port"),
        ("http://example.org:65536/", "not a URL"),
        ("http://example.org:-1/", "not a URL"),
        ("http://example.org:http/", "not a URL"),
        ("http://example.org\\@127.0.0.1/", "not a URL"),
        ("http://example.org/\r\nX-Injected: 1", "control characters"),
        ("http://exa\tmple.org/", "control characters"),
        (" http://example.org/", "spaces"),
        ("http://example.org/a b", "spaces"),
        ("http://a..b/", "not a valid name"),
        ("http://.../", "not a valid name"),
        ("http://" + "a" * 64 + ".example/", "not a valid name"),
        ("http://" + "a." * 127 + "example/", "not a valid name"),
        ("http://example.org/" + "a" * 2048, "longer"),
    ],
)
def test_malformed_url_is_refused_with_its_fault(url: str, why: str) -> None:
    with pytest.raises(AddressRefusedError, match=why):
        AddressGuard().checked_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.org/services/T0/B0/x?y=z#f",
        "http://example.org:8080/",
        "https://example.org:65535/",
        "https://bücher.example/",
        "https://a_b.example/",
        "https://example.org./",
        "https://8.8.8.8/",
        "https://[2606:4700::1111]/",
    ],
)
def test_ordinary_url_passes(url: str) -> None:
    assert AddressGuard().checked_url(url).scheme in ("http", "https")


def test_refusal_never_repeats_the_secret_path_of_a_webhook() -> None:
    with pytest.raises(AddressRefusedError) as refused:
        AddressGuard().checked_url("http://10.0.0.1/services/TOPSECRET")
    assert "TOPSECRET" not in str(refused.value)


def test_allowed_network_opens_itself_and_nothing_else() -> None:
    guard = AddressGuard(allowed=(ip_network("10.1.0.0/16"), ip_network("fd00::/8")))
    assert guard.refusal("10.1.255.255") is None
    assert guard.refusal("::ffff:10.1.0.1") is None
    assert guard.refusal("fd12::1") is None
    assert guard.refusal("10.2.0.0") is not None
    assert guard.refusal("::1") is not None


def test_operators_list_is_read_and_its_typing_error_named() -> None:
    assert parse_networks("10.0.0.0/8, 192.168.7.7 fd00::/8") == (
        ip_network("10.0.0.0/8"),
        ip_network("192.168.7.7/32"),
        ip_network("fd00::/8"),
    )
    assert parse_networks("") == ()
    with pytest.raises(ValueError, match="intranet"):
        parse_networks("10.0.0.0/8, intranet")


async def test_name_that_leads_inside_is_refused() -> None:
    resolver = GuardedResolver(AddressGuard(), FixedResolver(["10.0.0.1"]))
    with pytest.raises(AddressRefusedError, match=r"evil\.example leads inside.*10\.0\.0\.1"):
        await resolver.resolve("evil.example", 80)


async def test_inside_addresses_are_left_out_of_a_mixed_answer() -> None:
    resolver = GuardedResolver(AddressGuard(), FixedResolver(["127.0.0.1", "8.8.8.8", "::1", "2606:4700::1111"]))
    found = await resolver.resolve("mixed.example", 443)
    assert [result["host"] for result in found] == ["8.8.8.8", "2606:4700::1111"]


async def test_name_without_addresses_is_a_failed_lookup() -> None:
    with pytest.raises(OSError, match=r"nothing\.example has no address"):
        await GuardedResolver(AddressGuard(), FixedResolver([])).resolve("nothing.example")


async def test_only_so_many_addresses_are_tried() -> None:
    many = [f"8.8.8.{n}" for n in range(MAX_ADDRESSES_TRIED + 1)]
    found = await GuardedResolver(AddressGuard(), FixedResolver(many)).resolve("many.example")
    assert len(found) == MAX_ADDRESSES_TRIED


def test_socket_is_refused_for_the_address_it_would_connect_to() -> None:
    with pytest.raises(AddressRefusedError, match="inside"):
        AddressGuard().guarded_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80)))
    AddressGuard().guarded_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 80))).close()


async def test_socket_wall_alone_stops_a_literal_that_came_past_the_other_checks() -> None:
    connector = TCPConnector(socket_factory=AddressGuard().guarded_socket)
    async with ClientSession(connector=connector) as session:
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]"):
            with pytest.raises(AddressRefusedError):
                await session.get(f"http://{host}:9/")
