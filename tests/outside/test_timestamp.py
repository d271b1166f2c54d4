"""Time stamps asked for over HTTP from a real authority: `openssl ts` behind a small server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.outside.peers import answering
from tests.support.authority import make_authority, serving
from tocsin.evidence import der
from tocsin.evidence.timestamp import verify_token
from tocsin.outside import OutsideError
from tocsin.outside.http import Http
from tocsin.outside.timestamp import stamp


async def test_a_real_authority_stamps_over_http(http: Http, tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    with serving(authority) as url:
        token = await stamp(http, url, b"a checkpoint\n", 2**127 + 5)
    assert verify_token(token, b"a checkpoint\n", [authority.root]).authority == "CN=Test Time Stamps"


async def test_an_old_token_is_not_taken_for_a_new_one(http: Http, tmp_path: Path) -> None:
    with serving(make_authority(tmp_path)) as url:
        token = await stamp(http, url, b"data", 1)
    old = der.sequence(der.sequence(der.integer(0)), token)
    async with answering(200, old, "application/timestamp-reply") as replaying:
        with pytest.raises(OutsideError, match="nonce"):
            await stamp(http, replaying, b"data", 2)


@pytest.mark.parametrize(
    ("status", "body"), [(500, b"oh"), (200, b""), (200, b"0\x03\x02\x01\x00"), (200, b"<html>"), (200, bytes(300_000))]
)
async def test_whatever_an_authority_answers_is_one_line(http: Http, status: int, body: bytes) -> None:
    async with answering(status, body, "application/timestamp-reply") as url:
        with pytest.raises(OutsideError) as refused:
            await stamp(http, url, b"data", 1)
    assert str(refused.value).isprintable()
