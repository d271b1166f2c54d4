"""A real time-stamp authority: `openssl ts` with keys of its own, behind HTTP on loopback."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_CONFIG = """
[ tsa ]
default_tsa = one
[ one ]
serial = {folder}/serial
crypto_device = builtin
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
accuracy = secs:1
ess_cert_id_chain = no
ess_cert_id_alg = {ess}
"""


@dataclass(frozen=True, slots=True)
class Authority:
    """The files of an authority: root.pem, authority.pem (with its chain in chain.pem), key.pem."""

    folder: Path
    root: x509.Certificate

    @property
    def leaf(self) -> x509.Certificate:
        """Return the certificate that signs the time stamps."""
        return x509.load_pem_x509_certificate((self.folder / "authority.pem").read_bytes())

    def reply(self, query: bytes) -> bytes:
        """Answer a TimeStampReq as `openssl ts -reply` does."""
        files = [self.folder / f"{threading.get_ident()}.{kind}" for kind in ("tsq", "tsr")]
        files[0].write_bytes(query)
        openssl(
            *("ts", "-reply", "-config", str(self.folder / "tsa.cnf"), "-queryfile", str(files[0])),
            *("-signer", str(self.folder / "authority.pem"), "-inkey", str(self.folder / "key.pem")),
            *("-chain", str(self.folder / "chain.pem"), "-out", str(files[1])),
        )
        return files[1].read_bytes()


def make_authority(
    folder: Path,
    *,
    rsa_keys: bool = False,
    valid: timedelta = timedelta(days=365),
    purposes: tuple[x509.ObjectIdentifier, ...] = (ExtendedKeyUsageOID.TIME_STAMPING,),
    critical: bool = True,
    ess: str = "sha256",
    issuer: Authority | None = None,
) -> Authority:
    """Make an authority: a root, an intermediate, and a certificate for time stamps that ends after `valid`.

    With `issuer`, that one's certificate for time stamps is the root, though it is none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    keys = [_key(rsa_keys) for _ in range(3)]
    above = "Test Root"
    root = _certificate(above, keys[0], above, keys[0], authority=True)
    if issuer is not None:
        above, root = "Test Time Stamps", issuer.leaf
        keys[0] = _read_key(issuer.folder / "key.pem")
    between = _certificate("Test Intermediate", keys[1], above, keys[0], authority=True)
    usage = x509.ExtendedKeyUsage(list(purposes))
    leaf = _certificate(
        "Test Time Stamps", keys[2], "Test Intermediate", keys[1], valid=valid, usage=usage, critical=critical
    )
    _write(folder / "root.pem", root)
    _write(folder / "authority.pem", leaf)
    _write(folder / "chain.pem", *([between] if issuer is None else [between, issuer.leaf]))
    pem = keys[2].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(pem)
    (folder / "serial").write_text("01\n")
    (folder / "tsa.cnf").write_text(_CONFIG.format(folder=folder, ess=ess))
    return Authority(folder, root)


@contextmanager
def serving(authority: Authority) -> Iterator[str]:
    """Serve the authority over HTTP; give its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["Content-Length"]))
            known = self.headers["Content-Type"] == "application/timestamp-query"
            answer = authority.reply(query) if known else b""
            self.send_response(200 if known else 415)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/tsa"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def openssl(*arguments: str, stdin: bytes | None = None, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    """Run `openssl`; with `check`, its failure is the test's."""
    done = subprocess.run(["openssl", *arguments], input=stdin, capture_output=True, timeout=30, check=False)
    assert done.returncode == 0 or not check, done.stderr.decode()
    return done


def _key(with_rsa: bool) -> Key:
    return rsa.generate_private_key(65537, 2048) if with_rsa else ec.generate_private_key(ec.SECP256R1())


def _certificate(
    subject: str,
    key: Key,
    issuer: str,
    issuer_key: Key,
    *,
    authority: bool = False,
    valid: timedelta = timedelta(days=3650),
    usage: x509.ExtendedKeyUsage | None = None,
    critical: bool = True,
) -> x509.Certificate:
    now = datetime.now(UTC).replace(microsecond=0)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + valid)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if usage is not None:
        builder = builder.add_extension(usage, critical=critical)
    return builder.sign(issuer_key, hashes.SHA256())


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _read_key(path: Path) -> Key:
    key = load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    return key


def _write(path: Path, *certificates: x509.Certificate) -> None:
    path.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in certificates))
