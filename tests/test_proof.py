"""DPoP proofs by themselves: examples of the RFCs, and a second JOSE library that reads them."""

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import ECKey

from pkj.token.proof import Prover, htu

# RFC 9449: the key of the proof in section 4.1, the jkt of section 6.1, token and ath of 7.1.
RFC_9449_X = "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs"
RFC_9449_Y = "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA"
RFC_9449_JKT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
RFC_9449_TOKEN = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"  # noqa: S105 - an example
RFC_9449_ATH = "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"
# RFC 7515 appendix A.3: a key whose private part is known; the thumbprint is by RFC 7638.
RFC_7515_D = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"
RFC_7515_X = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
RFC_7515_Y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"

URL = "https://org.example/oauth2/v1/token"
TOKEN = "the.access.token"  # noqa: S105 - not one


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def number(text: str) -> int:
    return int.from_bytes(decoded(text), "big")


@dataclass
class PublicHalf:
    """A key of which a specification tells the public half only."""

    public: ec.EllipticCurvePublicKey

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self.public


def prover_of(key: object, monkeypatch: pytest.MonkeyPatch) -> Prover:
    """A prover whose key is not a new one."""
    with monkeypatch.context() as patched:
        patched.setattr(ec, "generate_private_key", lambda _: key)
        return Prover()


def parts_of(proof: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims as they stand there, whoever signed them."""
    head, claims, _ = proof.split(".")
    return json.loads(decoded(head)), json.loads(decoded(claims))


def verified(proof: str, jwk: Any = None) -> jwt.Token:
    """By a second JOSE library; with the key in the header unless another is given."""
    key = ECKey.import_key(jwk or parts_of(proof)[0]["jwk"])
    return jwt.decode(proof, key, algorithms=["ES256"])


def with_short_coordinates() -> Iterator[tuple[str, int]]:
    """The first private numbers whose public point begins with a zero byte: in x, in y."""
    found: set[str] = set()
    secret = 1
    while len(found) < 2:
        secret += 1
        point = ec.derive_private_key(secret, ec.SECP256R1()).public_key().public_numbers()
        for name, value in (("x", point.x), ("y", point.y)):
            if value.bit_length() <= 248 and name not in found:
                found.add(name)
                yield name, secret


# Thumbprint and key


def test_the_thumbprint_of_the_key_in_rfc_9449_is_its_jkt(monkeypatch: pytest.MonkeyPatch) -> None:
    point = ec.EllipticCurvePublicNumbers(number(RFC_9449_X), number(RFC_9449_Y), ec.SECP256R1())
    prover = prover_of(PublicHalf(point.public_key()), monkeypatch)

    assert prover.thumbprint() == RFC_9449_JKT
    assert prover.jwk() == {"kty": "EC", "crv": "P-256", "x": RFC_9449_X, "y": RFC_9449_Y}


def test_the_key_of_rfc_7515_is_shown_and_hashed_as_the_second_library_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prover = prover_of(ec.derive_private_key(number(RFC_7515_D), ec.SECP256R1()), monkeypatch)
    jwk: dict[str, Any] = {"kty": "EC", "crv": "P-256", "x": RFC_7515_X, "y": RFC_7515_Y}

    proof = prover.proof("POST", URL)

    assert prover.jwk() == jwk
    assert prover.thumbprint() == ECKey.import_key(jwk).thumbprint() != RFC_9449_JKT
    assert verified(proof, jwk).claims["htu"] == URL
    assert RFC_7515_D not in proof


def test_another_key_has_another_thumbprint_and_does_not_verify_the_proof() -> None:
    ours, theirs = Prover(), Prover()

    proof = ours.proof("POST", URL)

    assert ours.thumbprint() != theirs.thumbprint()
    assert verified(proof, ours.jwk()).claims["htm"] == "POST"
    with pytest.raises(BadSignatureError):
        verified(proof, theirs.jwk())


def test_coordinates_of_many_keys_have_32_bytes_and_the_thumbprint_of_the_second_library() -> None:
    for _ in range(200):
        prover = Prover()
        jwk: Any = prover.jwk()
        assert [len(decoded(jwk[name])) for name in ("x", "y")] == [32, 32]
        assert "=" not in jwk["x"] + jwk["y"]
        assert prover.thumbprint() == ECKey.import_key(jwk).thumbprint()


def test_a_coordinate_that_begins_with_zero_is_padded_to_32_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []
    for name, secret in with_short_coordinates():
        key = ec.derive_private_key(secret, ec.SECP256R1())
        prover = prover_of(key, monkeypatch)
        jwk: Any = prover.jwk()
        assert decoded(jwk[name])[0] == 0
        assert [len(decoded(jwk[part])) for part in ("x", "y")] == [32, 32]
        point = key.public_key().public_numbers()
        assert (number(jwk["x"]), number(jwk["y"])) == (point.x, point.y)
        assert verified(prover.proof("GET", URL)).claims["htm"] == "GET"
        seen.append(name)
    assert sorted(seen) == ["x", "y"]


# Header and claims


@pytest.mark.parametrize("nonce", [None, "okta's nonce"], ids=["without_nonce", "with_nonce"])
@pytest.mark.parametrize("token", [None, TOKEN], ids=["for_a_token", "with_a_token"])
def test_a_proof_has_exactly_the_members_that_it_needs(
    token: str | None, nonce: str | None
) -> None:
    prover = Prover()
    prover.nonce, prover.api_nonce = ("another", nonce) if token else (nonce, "another")

    proof = prover.proof("POST", URL, token=token)

    header, claims = parts_of(proof)
    assert header == {"typ": "dpop+jwt", "alg": "ES256", "jwk": prover.jwk()}
    assert header["jwk"].keys() == {"kty", "crv", "x", "y"}
    optional = [name for name, value in (("nonce", nonce), ("ath", token)) if value]
    assert claims.keys() == {"htm", "htu", "iat", "jti", *optional}
    assert (claims["htm"], claims["htu"], claims.get("nonce")) == ("POST", URL, nonce)
    assert verified(proof).claims == claims


def test_the_private_part_of_the_key_is_nowhere_in_a_proof(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    prover = prover_of(key, monkeypatch)
    private = key.private_numbers().private_value
    in_base64url = base64.urlsafe_b64encode(private.to_bytes(32, "big")).rstrip(b"=").decode()

    header, _ = parts_of(prover.proof("GET", URL, token=TOKEN))

    assert "d" not in header["jwk"]
    assert in_base64url not in json.dumps(header)
    assert str(private) not in json.dumps(header)
    assert ECKey.import_key(header["jwk"]).is_private is False


def test_the_ath_of_the_token_in_rfc_9449_is_the_one_of_the_rfc() -> None:
    claims = parts_of(Prover().proof("GET", URL, token=RFC_9449_TOKEN))[1]
    other = parts_of(Prover().proof("GET", URL, token=RFC_9449_TOKEN + "V"))[1]

    assert claims["ath"] == RFC_9449_ATH
    assert other["ath"] != RFC_9449_ATH


@pytest.mark.parametrize(
    ("url", "bare"),
    [
        pytest.param(URL, URL, id="as_it_is"),
        pytest.param(f"{URL}?limit=1&after=x", URL, id="query"),
        pytest.param(f"{URL}#part", URL, id="fragment"),
        pytest.param(f"{URL}?a=b#part?c=d", URL, id="query_and_fragment"),
        pytest.param(f"{URL}?a=https://other.example/?x#y", URL, id="a_URL_in_the_query"),
        pytest.param("https://org.example:8443/x/?q", "https://org.example:8443/x/", id="port"),
        pytest.param("https://org.example", "https://org.example/", id="no_path"),
        pytest.param("https://org.example?q", "https://org.example/", id="no_path_but_a_query"),
        pytest.param("https://[::1]:8443/a%20b", "https://[::1]:8443/a%20b", id="IPv6"),
        pytest.param(f"{URL}/%40%2f%c3%bc+%2B", f"{URL}/@/\u00fc++", id="percent_escapes"),
        pytest.param(f"{URL}/%25%22%23%2540", f"{URL}/%25%22%23%2540", id="four_stay_escaped"),
    ],
)
def test_the_htu_is_the_address_without_query_and_fragment(url: str, bare: str) -> None:
    assert htu(url) == bare
    assert parts_of(Prover().proof("GET", url))[1]["htu"] == bare


@pytest.mark.parametrize("offset", [0, 3600, -3600.5], ids=["right", "slow", "fast"])
def test_a_proof_is_dated_five_seconds_back_by_the_clock_of_okta(offset: float) -> None:
    earliest = int(time.time() + offset) - 5
    claims = parts_of(Prover().proof("GET", URL, clock_offset=offset))[1]
    latest = int(time.time() + offset) - 5

    assert type(claims["iat"]) is int
    assert earliest <= claims["iat"] <= latest
    assert "exp" not in claims


def test_no_two_proofs_have_the_same_jti() -> None:
    prover = Prover()
    ids = [parts_of(prover.proof("GET", URL, token=TOKEN))[1]["jti"] for _ in range(50)]

    assert len(set(ids)) == 50
    assert min(map(len, ids)) >= 16


@pytest.mark.parametrize("part", [0, 1, 2], ids=["header", "claims", "signature"])
def test_a_proof_that_was_changed_anywhere_does_not_verify(part: int) -> None:
    prover = Prover()
    proof = prover.proof("GET", URL, token=TOKEN)
    other = Prover().proof("POST", URL)
    pieces = proof.split(".")
    pieces[part] = other.split(".")[part]

    assert verified(proof, prover.jwk())
    with pytest.raises(BadSignatureError):
        verified(".".join(pieces), prover.jwk())
