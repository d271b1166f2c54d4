"""An OpenID provider as we use it: authorization code flow with PKCE (OpenID Connect Core 1.0, 3.1; RFC 7636).

Nothing is kept between two sign-ins: what the provider says of itself, and its keys, are asked for each time.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from tocsin.address_guard import AddressGuard
from tocsin.outside import OutsideError
from tocsin.outside.http import Http

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures with a public key only: with HS256 the client secret would sign, with `none` nobody (RFC 8725, 3.1)."""
KEY_TYPES = ("RSA", "EC", "OKP")
LEEWAY_SECONDS = 60
SCOPE = "openid email profile"
_FORM = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Attempt:
    """What ties the two halves of one sign-in together, all made of one secret that the browser alone keeps."""

    secret: str

    @property
    def state(self) -> str:
        """Return what the provider gives back (RFC 6749, 10.12)."""
        return self._made(b"state")

    @property
    def nonce(self) -> str:
        """Return what the ID token must repeat (OpenID Connect Core, 15.5.2)."""
        return self._made(b"nonce")

    @property
    def verifier(self) -> str:
        """Return what shows that who has the code has asked for it (RFC 7636, 4.1)."""
        return self._made(b"verifier")

    @property
    def challenge(self) -> str:
        """Return the verifier's hash (RFC 7636, 4.2)."""
        return _base64url(hashlib.sha256(self.verifier.encode()).digest())

    def _made(self, purpose: bytes) -> str:
        return _base64url(hmac.digest(self.secret.encode(), b"tocsin oidc " + purpose, "sha256"))


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom the provider has seen. `subject` is theirs for ever, the address may go to somebody else."""

    issuer: str
    subject: str
    email: str
    name: str


class _Metadata(msgspec.Struct):
    """What a provider says of itself (OpenID Connect Discovery 1.0, 3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None


class _Tokens(msgspec.Struct):
    id_token: str
    access_token: str = ""


class _Keys(msgspec.Struct):
    keys: list[dict[str, Any]]


class _Claims(msgspec.Struct):
    sub: str
    email: str = ""
    email_verified: bool | str = False
    name: str = ""


@dataclass(frozen=True, slots=True)
class Provider:
    """The provider that the operator trusts to say who somebody is."""

    issuer: str
    client_id: str
    client_secret: str | None
    guard: AddressGuard
    timeout_seconds: float

    async def sign_in_url(self, attempt: Attempt, redirect_uri: str) -> str:
        """Return where the browser goes to sign in. Raises OutsideError."""
        async with self._http() as http:
            metadata = await self._metadata(http)
        asked = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": redirect_uri,
            "scope": SCOPE,
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": attempt.challenge,
            "code_challenge_method": "S256",
        }
        separator = "&" if "?" in metadata.authorization_endpoint else "?"
        return f"{metadata.authorization_endpoint}{separator}{urlencode(asked)}"

    async def identity(self, attempt: Attempt, code: str, redirect_uri: str, now: datetime) -> Identity:
        """Return who has signed in there. Raises OutsideError, also for a token that does not hold."""
        async with self._http() as http:
            metadata = await self._metadata(http)
            tokens = await self._tokens(http, metadata, attempt, code, redirect_uri)
            keys = await _asked(http, "GET", metadata.jwks_uri, _Keys)
            claims = self._verified(tokens.id_token, keys, attempt, now)
            if not claims.email and metadata.userinfo_endpoint is not None:
                subject = claims.sub
                bearer = {"Authorization": f"Bearer {tokens.access_token}"}
                claims = await _asked(http, "GET", metadata.userinfo_endpoint, _Claims, headers=bearer)
                if claims.sub != subject:
                    raise OutsideError("the provider tells of somebody else (OpenID Connect Core, 5.3.2)")
        if not claims.email or claims.email_verified not in (True, "true"):
            raise OutsideError("the provider does not vouch for an e-mail address (email_verified)")
        return Identity(self.issuer, claims.sub, claims.email, claims.name)

    def _http(self) -> Http:
        return Http(self.guard, timeout_seconds=self.timeout_seconds)

    async def _metadata(self, http: Http) -> _Metadata:
        metadata = await _asked(http, "GET", f"{self.issuer.rstrip('/')}/.well-known/openid-configuration", _Metadata)
        if metadata.issuer != self.issuer:
            # OpenID Connect Discovery, 4.3: else one provider could speak for another.
            raise OutsideError(f"it calls itself {metadata.issuer[:100]!r}, not as TOCSIN_OIDC_ISSUER says")
        return metadata

    async def _tokens(self, http: Http, metadata: _Metadata, attempt: Attempt, code: str, redirect_uri: str) -> _Tokens:
        said = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": attempt.verifier,
        }
        headers = dict(_FORM)
        if self.client_secret is None:
            said["client_id"] = self.client_id
        else:
            # RFC 6749, 2.3.1: both are encoded as in a form first.
            pair = f"{quote(self.client_id, safe='')}:{quote(self.client_secret, safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return await _asked(http, "POST", metadata.token_endpoint, _Tokens, urlencode(said).encode(), headers)

    def _verified(self, id_token: str, keys: _Keys, attempt: Attempt, now: datetime) -> _Claims:
        """Return the claims of an ID token, all that OpenID Connect Core, 3.1.3.7 asks for being so."""
        registry = jwt.JWTClaimsRegistry(
            now=int(now.timestamp()),
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": self.issuer},
            aud={"essential": True, "value": self.client_id},
            sub={"essential": True},
            exp={"essential": True},
            nonce={"essential": True, "value": attempt.nonce},
        )
        try:
            key_set = KeySet.import_key_set({"keys": [key for key in keys.keys if key.get("kty") in KEY_TYPES]})
            claims = jwt.decode(id_token, key_set, algorithms=list(ALGORITHMS)).claims
            registry.validate(claims)
            if claims.get("azp", self.client_id) != self.client_id:
                raise OutsideError("the ID token is for another client")
            return msgspec.convert(claims, _Claims)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise OutsideError(f"the ID token does not hold: {type(error).__name__} {str(error)[:150]}") from None


async def _asked(
    http: Http, method: str, url: str, kind: type[T], body: bytes = b"", headers: dict[str, str] | None = None
) -> T:
    answer = await http.ask(method, url, body, headers)
    if answer.status != 200:
        raise OutsideError(f"{url[:100]} answered {answer.said()}")
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise OutsideError(f"{url[:100]} answered something else than it should: {str(error)[:100]}") from None


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
