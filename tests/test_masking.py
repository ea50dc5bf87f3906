"""What is shown: no secret in any form a server may echo it in, no control characters."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus, urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from pkj import keys, masking
from pkj.env import Env
from pkj.token import assertion

PLAIN_KEY = "00abcDEF_ghi-jklMNOpqrstuvwxyz0123456789AB"
STRANGE_KEY = '00"quo\\ted/+=%&?~'
FORMS = [
    pytest.param(str, id="raw"),
    pytest.param(lambda key: f"SSWS {key}", id="in_a_header"),
    pytest.param(lambda key: json.dumps({"sent": key}), id="in_json"),
    pytest.param(quote, id="in_a_path"),
    pytest.param(lambda key: quote(key, safe=""), id="percent_encoded"),
    pytest.param(quote_plus, id="in_a_form_value"),
    pytest.param(
        lambda key: "".join(c if c.isalnum() else f"%{ord(c):02x}" for c in key), id="in_full"
    ),
    pytest.param(lambda key: urlencode({"key": key}), id="in_a_form"),
    pytest.param(lambda key: f"{key}{key}", id="twice"),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("key", [PLAIN_KEY, STRANGE_KEY], ids=["plain", "strange"])
def test_an_api_key_is_masked_in_every_form_it_may_be_echoed_in(
    key: str, form: Callable[[str], str]
) -> None:
    echoed = form(key)

    shown = masking.masked(f"before {echoed} after", [key])

    assert masking.MASK in shown
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    assert not any(piece in shown for piece in (key[2:8], quote(key, safe="")[2:8]))


def test_a_text_without_secrets_stays_as_it_is() -> None:
    text = "E0000011 Invalid token provided (eyJ) -----BEGIN PUBLIC KEY-----\n{...}"

    assert masking.masked(text, [PLAIN_KEY, "", "  "]) == text


def test_a_secret_is_masked_without_the_blanks_that_stand_around_it() -> None:
    assert masking.masked("a 00abc b", [" 00abc\n"]) == f"a {masking.MASK} b"


def test_a_secret_within_another_leaves_nothing_of_the_longer_one() -> None:
    assert masking.masked("00abcdef", ["00abc", "00abcdef"]) == masking.MASK


def test_the_api_key_is_masked_also_where_it_was_pasted_with_its_prefix(tmp_path: Path) -> None:
    env = Env(tmp_path / ".env", {"API_KEY": f"SSWS {PLAIN_KEY}"}, print)

    for echoed in (f"SSWS {PLAIN_KEY}", f"the token {PLAIN_KEY} is invalid"):
        assert PLAIN_KEY not in masking.masked(echoed, env.secrets())


@pytest.mark.parametrize(
    "form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL], ids=["pkcs8", "pkcs1"]
)
@pytest.mark.parametrize(
    "written",
    [
        pytest.param(str, id="raw"),
        pytest.param(json.dumps, id="in_json"),
        pytest.param(lambda pem: pem.replace("\n", "\\n"), id="one_line"),
        pytest.param(lambda pem: pem[:800], id="cut_short"),
        pytest.param(lambda pem: f"{pem} and again {pem}", id="twice"),
    ],
)
def test_a_private_key_is_masked_although_nobody_named_it(
    key: rsa.RSAPrivateKey, form: PrivateFormat, written: Callable[[str], str]
) -> None:
    pem = key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()

    shown = masking.masked(f"before {written(pem)}")

    assert shown.startswith("before ")
    assert not any(line in shown for line in pem.splitlines()[1:-1])


@pytest.mark.parametrize("form", FORMS)
def test_a_private_key_that_was_read_is_masked_in_every_form(
    key: rsa.RSAPrivateKey, form: Callable[[str], str]
) -> None:
    pem = keys.private_pem(key)

    shown = masking.masked(form(pem), [pem])

    assert not any(quote(line, safe="")[4:40] in shown for line in pem.splitlines()[1:-1])
    assert not any(line[4:40] in shown for line in pem.splitlines()[1:-1])


def test_a_public_key_may_be_shown(key: rsa.RSAPrivateKey) -> None:
    pem = keys.public_pem(keys.modulus_of(key))

    assert masking.masked(pem) == pem


@pytest.mark.parametrize(
    "written",
    [
        pytest.param(str, id="raw"),
        pytest.param(lambda token: json.dumps({"access_token": token}), id="in_json"),
        pytest.param(lambda token: urlencode({"client_assertion": token}), id="in_a_form"),
        pytest.param(lambda token: f"Bearer {token}", id="in_a_header"),
        pytest.param(lambda token: ".".join(token.split(".")[:2]), id="without_its_signature"),
        pytest.param(lambda token: token[:-1], id="cut_in_its_signature"),
        pytest.param(lambda token: f"{token}\n{token}", id="twice"),
    ],
)
def test_a_signed_token_is_masked(key: rsa.RSAPrivateKey, written: Callable[[str], str]) -> None:
    token = assertion.sign(key, "0oa1", "https://acme.okta.com/oauth2/v1/token", kid="k")

    shown = masking.masked(f"before {written(token)} after")

    assert masking.MASK in shown
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    assert not any(part[:12] in shown for part in token.split("."))


def test_a_modulus_with_the_letters_of_a_token_in_it_is_shown() -> None:
    modulus = "6O0i_4eyJhbGciOiJSUzI1NiJ9-DSgmyfsf8dDGsslXZvtoguRPWVhweVUFGSOxf"
    assert masking.masked(modulus) == modulus


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("plain, größer, 日本", "plain, größer, 日本", id="printable_text"),
        pytest.param("two\nlines\n", "two\nlines\n", id="line_ends"),
        pytest.param("\x1b[31mred", r"\x1b[31mred", id="an_escape_sequence"),
        pytest.param("a\rb", r"a\rb", id="a_carriage_return"),
        pytest.param("a\tb\x00\x07\x7f", r"a\tb\x00\x07\x7f", id="control_characters"),
        pytest.param("\u202egnp.exe", r"\u202egnp.exe", id="right_to_left_override"),
        pytest.param("\x9b31m", r"\x9b31m", id="an_escape_sequence_of_8_bits"),
        pytest.param("\ud800", r"\ud800", id="half_a_character"),
        pytest.param("\U000e0041", r"\U000e0041", id="an_invisible_tag"),
        pytest.param("c:\\n\x00", "c:\\n\\x00", id="a_backslash_stays"),
    ],
)
def test_what_a_terminal_would_obey_is_written_as_an_escape(text: str, shown: str) -> None:
    assert masking.visible(text) == shown


@settings(deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_nothing_but_line_ends_and_printable_text_is_shown(text: str) -> None:
    assert masking.visible(text).replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("  a\n b\t", "a b", id="one_line"),
        pytest.param("x" * 10, "x" * 10, id="as_long_as_may_be"),
        pytest.param("x" * 11, f"{'x' * 10}… (11 characters)", id="too_long"),
    ],
)
def test_a_long_text_is_cut_and_says_so(text: str, shown: str) -> None:
    assert masking.shortened(text, 10) == shown


@pytest.mark.parametrize("secret", [PLAIN_KEY, STRANGE_KEY, "eyJhbGciOiJSUzI1NiJ9.e30.c2lnbmVk"])
@pytest.mark.parametrize("limit", [300, 20_000])
def test_cut_within_a_secret_shows_nothing_of_it(secret: str, limit: int) -> None:
    for left in range(len(secret) + 1):
        text = f"{'x ' * limit}"[: limit - left] + f"{secret} and more" * 9
        for shown in (
            masking.masked(masking.shortened(text, limit), [secret]),
            masking.shown(text, [secret], limit),
        ):
            assert secret[: masking.LEAST_SECRET] not in shown.rpartition("x ")[2]


def test_secrets_up_to_the_end_of_what_is_looked_at_are_masked() -> None:
    text = f"{PLAIN_KEY} " * 1000

    shown = masking.shown(text, [PLAIN_KEY], 10_000)

    assert set(shown.partition("…")[0].split()) == {masking.MASK}
    assert shown.endswith(f"… ({len(text)} characters)")


def test_a_secret_that_is_not_utf_8_is_masked() -> None:
    assert masking.masked("the \udcff-token", ["\udcff-token"]) == f"the {masking.MASK}"


@pytest.mark.parametrize(
    "piece",
    ["eyJ", "eyJaaaaa.", "-----BEGIN ", "PRIVATE KEY", "-", "://a", "://a@", "… (1", "00ab… (1 "],
)
def test_time_grows_with_the_text_and_not_with_its_square(piece: str) -> None:
    text = f"-----BEGIN eyJ://{piece * 400_000}"[:400_000]
    began = time.process_time()

    masking.masked(text, [PLAIN_KEY])

    assert time.process_time() - began < 2
