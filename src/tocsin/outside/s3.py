"""A copy in a bucket that speaks S3, locked against deletion (object lock) for as long as the operator says.

Signed with AWS Signature Version 4, of which a PUT and a GET need fifty lines; an SDK would open connections of its
own, past the guard that judges all others.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote, urlsplit

from tocsin.clock import Clock
from tocsin.outside import File, OutsideError
from tocsin.outside.directory import CHECKPOINT
from tocsin.outside.http import Answer, Http

_ALGORITHM = "AWS4-HMAC-SHA256"
_TIME = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key; `secret` never leaves this process."""

    access_key: str
    secret: str


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where: the endpoint's URL, the region, the bucket, a prefix of keys ("" or ending in /).

    Args:
        lock_days: how long each object is locked against everybody (COMPLIANCE); None: not at all.
    """

    endpoint: str
    region: str
    name: str
    prefix: str = ""
    lock_days: int | None = None


@dataclass(frozen=True, slots=True)
class S3Copy:
    """A copy in a bucket. Its versioning keeps every checkpoint that was ever there."""

    http: Http
    bucket: Bucket
    credentials: Credentials
    clock: Clock

    async def held(self) -> str | None:
        """See `Copy.held`."""
        answer = await self._ask("GET", CHECKPOINT)
        if answer.status == 404 and b"NoSuchBucket" not in answer.body:
            return None
        if answer.status != 200:
            raise OutsideError(f"its checkpoint cannot be read: {answer.said()}")
        return answer.body.decode("utf-8", "replace")

    async def put(self, files: AsyncIterator[File], checkpoint: str) -> None:
        """See `Copy.put`."""
        async for file in files:
            await self._put(file)
        await self._put(File(CHECKPOINT, checkpoint.encode()))

    async def _put(self, file: File) -> None:
        answer = await self._ask("PUT", file.path, file.content)
        if answer.status != 200:
            raise OutsideError(f"{file.path} cannot be written: {answer.said()}")

    async def _ask(self, method: str, path: str, body: bytes = b"") -> Answer:
        address = f"{self.bucket.endpoint.rstrip('/')}/{self.bucket.name}/{quote(self.bucket.prefix + path)}"
        headers = self._lock(body) if method == "PUT" and self.bucket.lock_days is not None else {}
        signed = sign(self.credentials, self.bucket.region, self.clock(), method, address, body, headers)
        return await self.http.ask(method, address, body, signed)

    def _lock(self, body: bytes) -> dict[str, str]:
        until = self.clock() + timedelta(days=self.bucket.lock_days or 0)
        return {
            "x-amz-object-lock-mode": "COMPLIANCE",
            "x-amz-object-lock-retain-until-date": until.strftime("%Y-%m-%dT%H:%M:%SZ"),
            # S3 asks for a digest with every locked object.
            "x-amz-sdk-checksum-algorithm": "SHA256",
            "x-amz-checksum-sha256": b64encode(hashlib.sha256(body).digest()).decode("ascii"),
        }


def sign(
    credentials: Credentials,
    region: str,
    now: datetime,
    method: str,
    address: str,
    body: bytes,
    headers: Mapping[str, str],
) -> dict[str, str]:
    """Return the headers with those that sign the request (AWS Signature Version 4, for S3)."""
    url = urlsplit(address)
    digest = hashlib.sha256(body).hexdigest()
    moment = now.strftime(_TIME)
    said = {**headers, "host": url.netloc, "x-amz-content-sha256": digest, "x-amz-date": moment}
    names = ";".join(sorted(said))
    lines = [f"{name}:{said[name].strip()}\n" for name in sorted(said)]
    canonical = "\n".join((method, url.path, url.query, "".join(lines), names, digest))
    scope = f"{moment[:8]}/{region}/s3/aws4_request"
    text = "\n".join((_ALGORITHM, moment, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = f"AWS4{credentials.secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    authorization = (
        f"{_ALGORITHM} Credential={credentials.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return said | {"Authorization": authorization}
