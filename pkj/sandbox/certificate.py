"""Make a certificate authority for one run, and the server certificate it signs.

The authority's private key never leaves memory. The server's key is in a file for the
moment in which `ssl` reads it, because `ssl` reads keys from files only.
"""

import ipaddress
import os
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOOPBACK = ("127.0.0.1", "::1", "localhost")
AUTHORITY = x509.Name(
    [x509.NameAttribute(NameOID.COMMON_NAME, "Pretend Okta org, throwaway authority")]
)
SERVER = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Pretend Okta org")])


@dataclass(frozen=True)
class Certificate:
    """The server uses `context`; clients that trust `ca_pem` accept it."""

    context: ssl.SSLContext
    ca_pem: bytes


def make_certificate(names: Sequence[str] = LOOPBACK) -> Certificate:
    """Return a certificate for `names` (IP addresses or host names), by its own authority.

    Both have the extensions that OpenSSL's X509_V_FLAG_X509_STRICT asks for, which
    Python sets by default from 3.13 on (RFC 5280 section 4.2).
    """
    ca_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _authority(ca_key)
    server = _server(server_key, names, ca_key)
    return Certificate(_context(server, server_key), _pem(authority))


def _authority(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    return (
        _begun(AUTHORITY, key, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _server(
    key: ec.EllipticCurvePrivateKey, names: Sequence[str], ca_key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    return (
        _begun(SERVER, key, ca_key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _begun(
    subject: x509.Name, key: ec.EllipticCurvePrivateKey, ca_key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(AUTHORITY)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A day ago, because the clock of a container can differ from its host's.
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=7))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _context(server: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory(prefix="pkj-") as folder:  # 0700 by mkdtemp
        path = Path(folder, "server.pem")
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(_pem(server) + _private_pem(key))
        context.load_cert_chain(path)
    return context


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
