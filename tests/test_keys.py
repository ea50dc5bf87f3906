"""The key: what generate_keys.py writes, what is derived from it, and which `kid` goes with it."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import (
    CREATE_APP,
    GENERATE_KEYS,
    GET_TOKEN,
    ROOT,
    SCOPES,
    EnvFile,
    Run,
    plant,
    public_jwk,
)
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from faults import Fault, Sandbox, patch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from joserfc.jwk import RSAKey
from scene import Scene

from pkj import keys
from pkj.sandbox.exchange import Response

Key = rsa.RSAPrivateKey
PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
PKCS8 = serialization.PrivateFormat.PKCS8
PKCS1 = serialization.PrivateFormat.TraditionalOpenSSL
PLAIN = serialization.NoEncryption()
DONE = "///////////////// Keys generated and added to .env file.\n"
Values = Callable[[str], dict[str, str]]
FOUR = "PRIVATE_KEY PUBLIC_KEY MODULUS KEY_ID"
REST = "PUBLIC_KEY MODULUS KEY_ID"


@pytest.fixture
def values(key: Key, other_key: Key) -> Values:
    """Return settings: NAME is of our key, other.NAME of another key, or NAME=value."""

    def of_words(words: str) -> dict[str, str]:
        found = {}
        for word in words.split():
            name, given, text = word.removeprefix("other.").partition("=")
            known = keys.settings_of(other_key if word.startswith("other.") else key)
            found[name] = text if given else known[name]
        return found

    return of_words


def assert_four_of_one_key(env: EnvFile, bits: int) -> None:
    """Return them as a second JOSE library sees them."""
    pem = env["PRIVATE_KEY"] or ""
    key = serialization.load_pem_private_key(pem.encode(), password=None)
    assert isinstance(key, Key)
    assert (key.key_size, key.public_key().public_numbers().e) == (bits, 65537)
    assert pem.startswith("-----BEGIN PRIVATE KEY-----\n")  # PKCS#8
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    spki = key.public_key().public_bytes(PEM, form).decode()
    jwk = RSAKey.import_key(spki)
    rest = (env["PUBLIC_KEY"], env["MODULUS"], env["KEY_ID"])
    assert rest == (spki.strip(), jwk.as_dict()["n"], jwk.thumbprint())


@pytest.mark.parametrize("given", [{}, {"PRIVATE_KEY": "secret", "MODULUS": "m", "KEY_ID": ""}])
def test_four_values_of_one_key_are_saved(
    given: dict[str, str], env: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    # A public key, a key ID and an app without a key are not a key to protect.
    text = "# my org\nPRIVATE_KEY=\nPUBLIC_KEY=p\nMODULUS=\nKEY_ID=k\nCLIENT_ID=0oa1\nA='$b${C}'\n"
    env.path.write_text(text, encoding="utf-8")

    result = run(GENERATE_KEYS, env=given)

    assert (result.returncode, result.stdout) == (0, DONE)
    warned = [line.split(" is also set")[0] for line in result.stderr.splitlines()]
    assert warned == [f"warning: {name}" for name in given][:2]
    assert "secret" not in result.stderr
    assert_four_of_one_key(env, 2048)
    assert (env["CLIENT_ID"], env["A"]) == ("0oa1", "$b${C}")
    assert env.path.read_text(encoding="utf-8").startswith("# my org\nPRIVATE_KEY='-----BEGIN")
    assert sandbox.connections == 0
    assert [path.name for path in env.path.parent.iterdir()] == [".env"]


@pytest.mark.parametrize(
    ("options", "bits"), [("--force", 2048), ("--bits 3072", 3072), ("--bits 4096", 4096)]
)
def test_missing_file_is_created(options: str, bits: int, run: Run, tmp_path: Path) -> None:
    other = EnvFile(tmp_path / "prod.env")

    result = run(GENERATE_KEYS, *options.split(), env_file=other.path)

    assert (result.returncode, result.stdout, result.stderr) == (0, DONE, "")
    assert_four_of_one_key(other, bits)
    assert list(other.values()) == FOUR.split()
    assert oct(other.path.stat().st_mode) == "0o100600"
    assert [path.name for path in tmp_path.iterdir()] == ["prod.env"]


EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
EXISTING = {
    "private-key": ("PRIVATE_KEY=secret\n", "PRIVATE_KEY in "),
    "modulus": ("MODULUS=secret\n", "MODULUS in "),
    "both": ("PRIVATE_KEY=secret\nMODULUS=b\n", "PRIVATE_KEY and MODULUS in "),
    "with-app": ("MODULUS=secret\nCLIENT_ID=0oa1\n", "0oa1"),
    "export": ("PRIVATE_KEY='secret\nkey'\nexport PRIVATE_KEY\n", "clears PRIVATE_KEY"),
    "cleared": ("PRIVATE_KEY=secret # why\nA=1\nPRIVATE_KEY=\n", "clears PRIVATE_KEY"),
    "crlf": ("MODULUS=secret\r\nMODULUS=''\r\n", "clears MODULUS"),
    "quoted-name": ("'PRIVATE_KEY'=secret\nPRIVATE_KEY\n", "clears PRIVATE_KEY"),
    "example": (f"PRIVATE_KEY=secret\n{EXAMPLE}", "clears PRIVATE_KEY"),
}


@pytest.mark.parametrize(("text", "said"), EXISTING.values(), ids=EXISTING)
def test_existing_key_is_replaced_only_with_force(
    text: str, said: str, env: EnvFile, run: Run
) -> None:
    env.path.write_bytes(text.encode())

    refused, missed = run(GENERATE_KEYS), run(GET_TOKEN)

    assert (refused.returncode, refused.stdout) == (1, "")
    assert all(part in refused.stderr for part in ("a key already exists", said, "--force"))
    assert "secret" not in refused.stderr
    assert (CREATE_APP in refused.stderr) == (said == "0oa1")
    assert ("later line" in refused.stderr.partition("--force")[0]) == ("clears" in said)
    assert ("clears PRIVATE_KEY" in missed.stderr) == ("clears PRIVATE_KEY" in said)
    assert env.path.read_bytes() == text.encode()
    assert [path.name for path in env.path.parent.iterdir()] == [".env"]
    forced = run(GENERATE_KEYS, "--force")
    assert (forced.returncode, f"`python {CREATE_APP}`" in forced.stderr) == (0, said == "0oa1")
    assert env.path.with_name(".env.previous").read_bytes() == text.encode()


def test_key_without_its_closing_quote_is_not_replaced(env: EnvFile, run: Run) -> None:
    env.path.write_text(text := "A=1\nPRIVATE_KEY='secret\nkey\nMODULUS='m'\n", encoding="utf-8")
    refused = run(GENERATE_KEYS, "--force")
    assert (refused.returncode, env.path.read_text(encoding="utf-8")) == (1, text)
    assert "correct line 2: a closing quote is probably missing" in refused.stderr
    assert [path.name for path in env.path.parent.iterdir()] == [".env"]


@pytest.mark.parametrize("source", ["PRIVATE_KEY", "MODULUS", "environment"])
def test_print_jwk_prints_the_public_key_and_changes_nothing(
    source: str, env_with_key: EnvFile, run: Run, key: Key
) -> None:
    given = {"PRIVATE_KEY": keys.private_pem(key)} if source == "environment" else {}
    env_with_key.write(**{name: "" for name in FOUR.split() if name != source})
    before = env_with_key.path.read_bytes()

    result = run(GENERATE_KEYS, "--print-jwk", env=given)

    assert (result.returncode, result.stderr) == (0, "")
    jwk = public_jwk(key) | {"use": "sig", "alg": "RS256"}
    assert json.loads(result.stdout) == jwk
    assert result.stdout == json.dumps(json.loads(result.stdout), indent=2) + "\n"
    assert env_with_key.path.read_bytes() == before


@pytest.mark.parametrize(("options", "code"), [("", 1), ("--force", 2), ("--bits 2048", 2)])
def test_print_jwk_does_not_generate_a_key(options: str, code: int, env: EnvFile, run: Run) -> None:
    before = env.path.read_bytes()
    result = run(GENERATE_KEYS, "--print-jwk", *options.split())
    assert (result.returncode, result.stdout) == (code, "")
    assert env.path.read_bytes() == before


WAYS: dict[str, Callable[[str], str]] = {
    "as-is": str,
    "no-last-newline": str.strip,
    "spaces-around": lambda pem: f"\n  {pem}\n\n",
    "one-line": lambda pem: pem.replace("\n", "\\n"),
    "one-line-stripped": lambda pem: pem.strip().replace("\n", "\\n"),
    "one-line-of-windows": lambda pem: pem.replace("\n", "\\r\\n"),
    "windows": lambda pem: pem.replace("\n", "\r\n"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.usefixtures("env")
def test_every_way_to_write_a_private_key_is_read(way: str, run: Run, key: Key) -> None:
    for form in (PKCS8, PKCS1):
        text = WAYS[way](key.private_bytes(PEM, form, PLAIN).decode())
        result = run(GENERATE_KEYS, "--print-jwk", env={"PRIVATE_KEY": text})
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout)["n"] == public_jwk(key)["n"]


@examples(deadline=None)
@given(st.integers(1, 2**4096))
def test_base64url_of_any_number_is_that_of_the_standard_library(number: int) -> None:
    raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
    text = keys.to_base64url(number)

    assert text == base64.urlsafe_b64encode(raw).decode().rstrip("=")
    # Also as the scripts of 2021 wrote it, in lines, or with a leading zero.
    written = (text, base64.encodebytes(raw).decode(), base64.b64encode(b"\0" + raw).decode())
    assert [keys.from_base64url(form) for form in written] == [number] * 3


DERIVED = {
    # in the file, in the environment, kid, saved
    "all-four": (FOUR, "", "KEY_ID", ""),
    "private-key": ("PRIVATE_KEY", "", "KEY_ID", REST),
    "with-key-id": ("PRIVATE_KEY KEY_ID", "", "KEY_ID", "PUBLIC_KEY MODULUS"),
    "with-chosen-key-id": ("PRIVATE_KEY KEY_ID=O4O", "", "KEY_ID=O4O", "PUBLIC_KEY MODULUS"),
    "modulus": ("MODULUS", "", "KEY_ID", "KEY_ID"),
    "modulus-and-key-id": ("MODULUS KEY_ID", "", "KEY_ID", ""),
    "public-key-of-another": ("PRIVATE_KEY other.PUBLIC_KEY", "", "KEY_ID", REST),
    "environment-alone": ("", "PRIVATE_KEY", "KEY_ID", REST),
    "environment-over-key": ("other.PRIVATE_KEY", "PRIVATE_KEY", "KEY_ID", ""),
    "key-id-of-the-other": ("other.PRIVATE_KEY other.KEY_ID", "PRIVATE_KEY", "KEY_ID", ""),
    "key-id-of-this": ("other.PRIVATE_KEY KEY_ID", "PRIVATE_KEY", "KEY_ID", ""),
    "environment-with-key-id": ("other.PRIVATE_KEY", "PRIVATE_KEY KEY_ID=O4O", "KEY_ID=O4O", ""),
    "modulus-of-environment": ("", "MODULUS", "KEY_ID", "KEY_ID"),
    "environment-over-modulus": ("other.MODULUS", "MODULUS", "KEY_ID", ""),
}


@pytest.mark.parametrize(("stored", "given", "kid", "saved"), DERIVED.values(), ids=DERIVED)
def test_what_the_file_lacks_is_derived_and_saved(
    stored: str, given: str, kid: str, saved: str, scene: Scene, values: Values
) -> None:
    scene.env.path.unlink()
    org = {"OKTA_URL": scene.sandbox.url, "API_KEY": scene.sandbox.org.api_key}
    known = org | {"SCOPES": SCOPES} | values(stored)
    scene.env.write(**known)

    result = scene.create_app(env=values(given))

    assert result.returncode == 0, result.stderr
    (app,) = scene.sandbox.org.clients.values()
    assert app.keys[0]["n"] == values("MODULUS")["MODULUS"]
    assert app.keys[0]["kid"] == values(kid)["KEY_ID"]
    assert scene.env.values() == known | values(saved) | {"CLIENT_ID": app.id}


@pytest.mark.parametrize("given", ["", "PRIVATE_KEY", "MODULUS"])
def test_kid_at_the_app_becomes_key_id_unless_the_file_holds_another_key(
    given: str, env: EnvFile, run: Run, sandbox: Sandbox, key: Key, values: Values
) -> None:
    plant(sandbox, env, key).keys[0]["kid"] = "theirs"
    env.write(**values(f"other.{given}" if given else FOUR))
    before = dict(env.values())

    result = run(CREATE_APP, env=values(given))

    assert result.returncode == 0, result.stderr
    assert env.values() == before | ({} if given else {"KEY_ID": "theirs"})


@pytest.mark.parametrize("given", ["", "PRIVATE_KEY"], ids=["file", "environment"])
def test_modulus_of_another_key_is_refused(
    given: str, env: EnvFile, run: Run, sandbox: Sandbox, values: Values
) -> None:
    env.write(**values("other.MODULUS" if given else "other.MODULUS PRIVATE_KEY"))

    for result in (
        run(GENERATE_KEYS, "--print-jwk", env=values(given)),
        run(CREATE_APP, env=values(given)),
    ):
        assert (result.returncode, result.stdout, sandbox.seen) == (1, "", [])
        assert "MODULUS does not match PRIVATE_KEY" in result.stderr
        assert f"from {'the environment' if given else env.path}" in result.stderr


CHANGES = {
    "nothing": ("", ""),
    "another-name": ("ADMIN_ROLES=READ_ONLY_ADMIN", ""),
    "whole-key": ("other.PRIVATE_KEY other.MODULUS other.KEY_ID", "PRIVATE_KEY and MODULUS were"),
    "modulus-appears": ("other.MODULUS", "MODULUS was"),
    "key-removed": ("PRIVATE_KEY=", "PRIVATE_KEY was"),
}


@pytest.mark.parametrize(("change", "refused"), CHANGES.values(), ids=CHANGES)
def test_key_replaced_meanwhile_is_not_mixed_with_the_registered_one(
    change: str, refused: str, env: EnvFile, run: Run, sandbox: Sandbox, values: Values
) -> None:
    env.write(**values("PRIVATE_KEY"))

    def changed(response: Response) -> Response:
        env.write(**values(change))
        return response

    sandbox.faults.add(Fault("POST /oauth2/v1/clients", patch(changed)))

    result = run(CREATE_APP)

    now = values(f"PRIVATE_KEY {change}" if refused else FOUR)
    assert {name: env[name] for name in FOUR.split() if name in env.values()} == now
    assert result.returncode == (1 if refused else 0), result.stderr
    assert f"{refused} changed during this run" in result.stderr or not refused


MODES = {0o600: False, 0o400: False, 0o640: True, 0o604: True}


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("mode", MODES, ids=oct)
def test_private_key_that_others_can_read_is_warned_about(
    mode: int, held: bool, run: Run, tmp_path: Path, key: Key
) -> None:
    file = EnvFile(tmp_path / "a b.env")
    pem = {"PRIVATE_KEY": keys.private_pem(key)}
    file.write(SCOPES="a", CLIENT_ID="0oaAny", OKTA_URL="127.0.0.1:1", **(pem if held else {}))
    file.path.chmod(mode)

    result = run(GET_TOKEN, env_file=file.path, env=pem)

    warned = result.stderr.count(f"run `chmod 600 '{file.path}'`")
    assert warned == (MODES[mode] and held)
    assert file.path.stat().st_mode & 0o777 == mode


def damaged(key: Key, parts: str, bit: int) -> str:
    """The key as PEM text, with one bit of each of these numbers turned (0 is the lowest)."""
    numbers = key.private_numbers()
    der = key.private_bytes(DER, PKCS8, PLAIN)
    for part in parts.split():
        number = numbers.public_numbers.n if part == "n" else int(getattr(numbers, part))
        octets = number.to_bytes((number.bit_length() + 7) // 8, "big")
        assert der.count(octets) == 1
        der = der.replace(octets, (number ^ 1 << bit).to_bytes(len(octets), "big"))
    text = base64.encodebytes(der).decode()
    return f"-----BEGIN PRIVATE KEY-----\n{text}-----END PRIVATE KEY-----"


HURT = [("p", 0), ("q", 0), *((part, 500) for part in ("p", "q", "d", "dmp1", "dmq1", "iqmp"))]
USELESS = [("n", 500), ("n", 0), ("q d", 500), ("iqmp d", 1)]


@pytest.mark.parametrize(("parts", "bit"), [("", 0), *HURT, *USELESS], ids=str)
@pytest.mark.parametrize("script", [CREATE_APP, GET_TOKEN])
def test_damaged_key_is_refused_or_signs_correctly(
    script: str, parts: str, bit: int, env: EnvFile, run: Run, sandbox: Sandbox, key: Key
) -> None:
    env.write(PRIVATE_KEY=damaged(key, parts, bit))
    if script == GET_TOKEN:
        plant(sandbox, env, key)

    result = run(script)

    if result.returncode == 0:  # OpenSSL may find the damage, and sign without that number
        assert (parts, bit) not in USELESS
        assert run(GET_TOKEN).returncode == 0
        assert sandbox.seen[-1].response_status == 200
    else:
        assert parts
        assert (result.returncode, result.stdout) == (1, "")
        assert "PRIVATE_KEY" in result.stderr
        assert (sandbox.connections, sandbox.seen) == (0, [])
