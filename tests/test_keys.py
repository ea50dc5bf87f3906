"""A key and its forms, against the RFC's example, OpenSSL's numbers and a second JOSE library."""

import base64
import datetime
import math
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import RSAKey

from pkj import keys
from pkj.errors import LocalError

RFC_7638_MODULUS = (
    "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc"
    "_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQ"
    "R0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bF"
    "TWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
)
RFC_7638_THUMBPRINT = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"

# `openssl genrsa -traditional 2048`; the modulus is what `openssl rsa -noout -modulus` says
# in base64url, the thumbprint `openssl dgst -sha256` over its JWK. It was never used.
PKCS1 = """\
-----BEGIN RSA PRIVATE KEY-----
MIIEowIBAAKCAQEAyA6v2euuQ7Rt320yrR4du9CNZ3G/7sNkMJcja0oZU9I5MUgS
9saKq+Kw2kLobjZAP6ZfMksChH7jAPyJxPe5I+BhAme+yFuGhOnApD+PsjLdBTqZ
kPI4SJgtrd0f+UuUJv4ZwRhEgQ30lPltXRNNsoxjoKUp0QaFCJxb1eWs5iYlG0Xu
lCCxAQri0rXgHEcru8UYnyuihGrWONfP6bpXbVDhuQzmnn1da3gbYrPNcoibs0j7
HUTl6m4VoA3MmsBsMELxbVkF3RFpO5bFMCzXCYxqrkNamggEUgoAp+sGxaSHZOzK
UE/ErR5/J5yCl+FEpu42lLNtKm5aU6yEwWlPYwIDAQABAoIBACk2IVKegtEOr52Z
lJll/VEN1rtLCvNIC/EYiWLWKl6CjWaSBtoQL0vWUIE9zDy770NNZgnputSJgQDY
hRbuwxRZahKBRaNne1ARCS6sq1DVuoMTvcPGqgKGWs6YoTgNMjFQIgUNlzsQoWQ4
96b3TYes9O8IZxNYqPoLn71x6UqljhsXAoBadySlXY1chrAm/wUWpteawSX7lnuc
ySGS4GkmoRkJSV2wf9XmejX+wSvUuZAiUB8EItmLMATmcf6zbKsOFosXcAyi+bM6
9umEyHGu4phzlqyrCoptOrbzf9XaJ2AjThDzviqjoZ9VkNCYzNjIGjOdOXrNo+JW
Yqbz4T0CgYEA/kJGTtq1QqcF75OlrUzm2BzqfYhw7QeOJa6hkDC6vIrAKwWZx4n7
2IEuS6FTeRUe2J9VS9L5ncEMO2J1lEzOAA7jnwN2haca6ok9sdiPTJN0In3q3h7B
HbX6gmpO5k9TtScrjjUYC7DDJ6uI9vf4v4pQNDofzX6/xD/MovCKSVUCgYEAyW1l
HiEbHdEaJ9zAf8iytHWNBeX5vBUFLyWo0HRr2fP2YAfkDZGj9EXhLPlwWXk+AjS7
AtwxvgSm0SpeF9acCGYTxkArDDoKDr1VXaCRqWYc50t3uWSYEJe49zT8yn129aNj
nT6/QMu0FvKAZ6jdov6oZpzXeAn6oX5LjM061dcCgYAoxV3a1S1Ns9S61xUxFezK
aNCdMpzRFW4Q0tDrezTmeOVZwLspCRJOZGCVFhh5iQ56NAqMbxdB2avpdd9e2XYL
Algzrm15/xLM2xb+hrhr0hVEVqar2YikCANUmFFwkvXcTZypYBAsB7sziEkdOSQ1
KquzxEJHRHThtk1NL38tRQKBgANDmI3ib3QOPWRD+YKYl/zAouZjkaZwmMLo01F9
cXn4sBdiSVnG8Gc28q0t5ZotksmqXRVwyAWSQbnF+/xa5/Bi5xMhWxE5p4wRmV6J
CZM7KmC9IlWIwcYTD1ZCL46AdfsJCMY1jBfatTJh/56uZ9kKU2RGSl+RmdQgHc1M
ThXFAoGBALn0waX7Y+DBCuejAKBC6jc5aF78oO07a4y+OQkNocPuNW1XllncNDGj
qOqOaQF0xdX68lk2wl5johL4wQkggLb1QWRFgKyqWxJo///K59DjfKmSqnbCEDVJ
qcywwHQMKtJuXPJfUm1mEdZ4VAYMETEXEySbt4+JLBfgbu/OHYih
-----END RSA PRIVATE KEY-----
"""
PKCS1_MODULUS = (
    "yA6v2euuQ7Rt320yrR4du9CNZ3G_7sNkMJcja0oZU9I5MUgS9saKq-Kw2kLobjZAP6ZfMksChH7jAPyJxPe5I-"
    "BhAme-yFuGhOnApD-PsjLdBTqZkPI4SJgtrd0f-UuUJv4ZwRhEgQ30lPltXRNNsoxjoKUp0QaFCJxb1eWs5iYl"
    "G0XulCCxAQri0rXgHEcru8UYnyuihGrWONfP6bpXbVDhuQzmnn1da3gbYrPNcoibs0j7HUTl6m4VoA3MmsBsME"
    "LxbVkF3RFpO5bFMCzXCYxqrkNamggEUgoAp-sGxaSHZOzKUE_ErR5_J5yCl-FEpu42lLNtKm5aU6yEwWlPYw"
)
PKCS1_THUMBPRINT = "0mhFk6cMFhRCiPWSWVvNu1L-ItbDGdB2jsVvLgO-CQs"


def number(text: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")


def pem_of(key: rsa.RSAPrivateKey, form: PrivateFormat, password: bytes = b"") -> str:
    locked = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, form, locked).decode()


def ec_pem() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def ed25519_pem() -> str:
    key = ed25519.Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def certificate_pem(key: rsa.RSAPrivateKey) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a certificate")])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    valid = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    return valid.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def with_1024_bits() -> str:
    key = rsa.generate_private_key(65537, 1024)  # noqa: S505 (what is to be refused)
    return pem_of(key, PrivateFormat.PKCS8)


def with_exponent_3() -> str:
    return pem_of(rsa.generate_private_key(3, 2048), PrivateFormat.PKCS8)


def test_the_thumbprint_is_that_of_the_rfc_s_example() -> None:
    assert keys.thumbprint(number(RFC_7638_MODULUS)) == RFC_7638_THUMBPRINT


def test_the_thumbprint_of_a_modulus_one_bit_away_is_another() -> None:
    assert keys.thumbprint(number(RFC_7638_MODULUS) ^ 2) != RFC_7638_THUMBPRINT


def test_a_known_key_has_the_modulus_that_openssl_says() -> None:
    modulus = keys.modulus_of(keys.load_private(PKCS1))

    assert modulus == number(PKCS1_MODULUS)
    assert keys.to_base64url(modulus) == PKCS1_MODULUS
    assert keys.thumbprint(modulus) == PKCS1_THUMBPRINT


def test_the_jwk_of_a_known_key_is_the_six_members_that_okta_takes() -> None:
    assert keys.jwk(number(PKCS1_MODULUS), "a kid") == {
        "kty": "RSA",
        "e": "AQAB",
        "n": PKCS1_MODULUS,
        "use": "sig",
        "alg": "RS256",
        "kid": "a kid",
    }


@pytest.mark.parametrize("bits", [2048, pytest.param(3072, marks=pytest.mark.slow)])
def test_jwk_and_thumbprint_of_a_new_key_are_those_of_a_second_library(bits: int) -> None:
    key = keys.generate(bits)
    second = RSAKey.import_key(keys.private_pem(key))
    modulus = keys.modulus_of(key)

    assert key.key_size == bits
    assert keys.thumbprint(modulus) == second.thumbprint()
    ours = keys.jwk(modulus, "k")
    assert {name: ours[name] for name in ("kty", "n", "e")} == second.as_dict(private=False)


@settings(deadline=None)
@given(st.integers(0, 2**2047 - 1).map(lambda part: 2**2047 + part | 1))
def test_the_thumbprint_of_any_modulus_is_that_of_a_second_library(modulus: int) -> None:
    ours = keys.jwk(modulus, "k")
    second = RSAKey.import_key({name: ours[name] for name in ("kty", "n", "e")})

    assert second.thumbprint() == keys.thumbprint(modulus)
    assert second.public_key.public_numbers() == rsa.RSAPublicNumbers(65537, modulus)


def test_private_pem_is_pkcs_8_and_public_pem_its_other_half(key: rsa.RSAPrivateKey) -> None:
    private, public = keys.private_pem(key), keys.public_pem(keys.modulus_of(key))

    assert private.splitlines()[0] == "-----BEGIN PRIVATE KEY-----"
    assert private.splitlines()[-1] == "-----END PRIVATE KEY-----"
    assert public.splitlines()[0] == "-----BEGIN PUBLIC KEY-----"
    read = load_pem_private_key(private.encode(), password=None)
    assert isinstance(read, rsa.RSAPrivateKey)
    assert read.private_numbers() == key.private_numbers()
    assert load_pem_public_key(public.encode()) == key.public_key()


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize(
    "write",
    [
        pytest.param(str, id="as_it_is"),
        pytest.param(str.strip, id="without_its_last_line_end"),
        pytest.param(lambda pem: f"\n  {pem}\n\n", id="blanks_around_it"),
        pytest.param(lambda pem: pem.replace("\n", "\\n"), id="one_line"),
        pytest.param(lambda pem: pem.strip().replace("\n", "\\n"), id="one_line_stripped"),
        pytest.param(lambda pem: pem.replace("\n", "\\r\\n"), id="one_line_of_windows"),
        pytest.param(lambda pem: pem.replace("\n", "\r\n"), id="windows_line_ends"),
    ],
)
def test_every_way_to_write_a_private_key_reads_alike(
    key: rsa.RSAPrivateKey, form: PrivateFormat, write: Callable[[str], str]
) -> None:
    text = write(pem_of(key, form))

    assert keys.load_private(text).private_numbers() == key.private_numbers()


@pytest.mark.parametrize(
    ("make", "word"),
    [
        pytest.param(lambda _: "no key at all", "PEM", id="garbage"),
        pytest.param(lambda _: "-----BEGIN PRIVATE KEY-----", "PEM", id="only_a_head"),
        pytest.param(lambda _: "\ud800\x00é", "PEM", id="no_text_at_all"),
        pytest.param(
            lambda key: pem_of(key, PrivateFormat.PKCS8)[:900], "PEM", id="cut_in_the_middle"
        ),
        pytest.param(lambda key: keys.public_pem(keys.modulus_of(key)), "public", id="public_key"),
        pytest.param(
            lambda key: (
                key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
            ),
            "public",
            id="public_key_of_ssh",
        ),
        pytest.param(certificate_pem, "public", id="certificate"),
        pytest.param(lambda _: '{"kty":"RSA","n":"AQAB"}', "JWK", id="jwk"),
        pytest.param(lambda _: ' \n{"keys":[]}', "JWK", id="jwk_set"),
        pytest.param(
            lambda key: pem_of(key, PrivateFormat.PKCS8, b"a password"), "encrypted", id="pkcs8"
        ),
        pytest.param(
            lambda key: pem_of(key, PrivateFormat.TraditionalOpenSSL, b"a password"),
            "encrypted",
            id="pkcs1_encrypted",
        ),
        pytest.param(lambda _: ec_pem(), "not an RSA key", id="ec"),
        pytest.param(lambda _: ed25519_pem(), "not an RSA key", id="ed25519"),
        pytest.param(lambda _: with_1024_bits(), "1024 bits", id="1024_bits"),
        pytest.param(lambda _: with_exponent_3(), "exponent", id="exponent_3"),
    ],
)
def test_what_is_not_a_usable_private_key_is_refused_in_one_sentence(
    key: rsa.RSAPrivateKey, make: Callable[[rsa.RSAPrivateKey], str], word: str
) -> None:
    text = make(key)

    with pytest.raises(LocalError) as refused:
        keys.load_private(text)

    sentence = str(refused.value)
    assert sentence.startswith("PRIVATE_KEY ")
    assert word in sentence
    assert "\n" not in sentence
    assert refused.value.hint
    assert refused.value.setting == "PRIVATE_KEY"
    assert not [line for line in text.split() if len(line) > 20 and line in sentence]


@settings(deadline=None)
@given(st.integers(1, 2**4096))
def test_base64url_of_any_number_reads_back_and_is_that_of_the_standard_library(n: int) -> None:
    text = keys.to_base64url(n)

    assert number(text) == n
    assert len(text) == math.ceil(math.ceil(n.bit_length() / 8) * 8 / 6)
    assert keys.from_base64url(text) == n


@settings(deadline=None)
@given(st.integers(1, 2**4096))
def test_what_the_scripts_of_2021_wrote_is_the_same_number(n: int) -> None:
    raw = n.to_bytes((n.bit_length() + 7) // 8, "big")

    assert keys.from_base64url(base64.encodebytes(raw).decode()) == n
    assert keys.from_base64url(base64.b64encode(b"\0" + raw).decode()) == n


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param(" \n", id="blank"),
        pytest.param("====", id="only_padding"),
        pytest.param("A", id="a_length_that_no_base64_has"),
        pytest.param("AQ=B", id="padding_inside"),
        pytest.param("AQ.B", id="a_point"),
        pytest.param("AQ\u0661B", id="a_digit_of_another_script"),
        pytest.param("c8:0e:af", id="hexadecimal_with_colons"),
    ],
)
def test_what_is_not_base64_is_no_number(text: str) -> None:
    assert keys.from_base64url(text) is None
    with pytest.raises(LocalError, match="MODULUS") as refused:
        keys.load_modulus(text)
    assert refused.value.setting == "MODULUS"


def test_a_modulus_of_2048_bits_is_taken_and_one_of_2047_is_not() -> None:
    assert keys.load_modulus(keys.to_base64url(2**2047 + 1)) == 2**2047 + 1
    with pytest.raises(LocalError, match="MODULUS has 2047 bits"):
        keys.load_modulus(keys.to_base64url(2**2047 - 1))


@pytest.mark.parametrize(
    ("key_id", "same_source", "sent"),
    [
        pytest.param("O4O", True, "O4O", id="the_owner_s_choice"),
        pytest.param(None, True, None, id="none"),
        pytest.param(None, False, None, id="none_from_two_places"),
        pytest.param("O4O", False, None, id="perhaps_of_another_key"),
        pytest.param(PKCS1_THUMBPRINT, False, PKCS1_THUMBPRINT, id="surely_of_this_key"),
        pytest.param(RFC_7638_THUMBPRINT, False, None, id="surely_of_another_key"),
    ],
)
def test_the_kid_is_sent_only_where_it_belongs_to_the_key(
    key_id: str | None, same_source: bool, sent: str | None
) -> None:
    modulus = number(PKCS1_MODULUS)

    assert keys.kid_to_send(modulus, key_id, same_source=same_source) == sent
