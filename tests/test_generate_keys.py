"""Step 1: four values that belong to one key, and a key that is never replaced unasked."""

import json
import stat
from pathlib import Path

import pytest
from conftest import ROOT, STEP_1, STEP_3, EnvFile, Run, public_jwk
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from faults import Sandbox
from joserfc.jwk import RSAKey

DONE = "///////////////// Keys generated and added to .env file.\n"
KEY_NAMES = ("PRIVATE_KEY", "PUBLIC_KEY", "MODULUS", "KEY_ID")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def private_key(env: EnvFile) -> rsa.RSAPrivateKey:
    pem = env["PRIVATE_KEY"] or ""
    loaded = serialization.load_pem_private_key(pem.encode(), password=None)
    assert isinstance(loaded, rsa.RSAPrivateKey)
    return loaded


def assert_the_four_belong_together(env: EnvFile, bits: int) -> None:
    """Seen through a second JOSE library."""
    key = private_key(env)
    public = key.public_key()
    assert (key.key_size, public.public_numbers().e) == (bits, 65537)
    assert (env["PRIVATE_KEY"] or "").startswith("-----BEGIN PRIVATE KEY-----\n")  # PKCS#8
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    spki = public.public_bytes(serialization.Encoding.PEM, form).decode()
    assert (env["PUBLIC_KEY"] or "").strip() == spki.strip()
    jwk = RSAKey.import_key(spki)
    assert env["MODULUS"] == jwk.as_dict()["n"]
    assert env["KEY_ID"] == jwk.thumbprint()


def test_step_1_saves_four_values_that_belong_to_one_key(
    env: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    template = "# my org\nPRIVATE_KEY=\nPUBLIC_KEY=\nMODULUS=\nCLIENT_ID=\nAPI_KEY='a$b${HOME}'\n"
    env.path.write_text(template, encoding="utf-8")
    env.path.chmod(0o600)

    result = run(STEP_1)

    assert (result.returncode, result.stdout, result.stderr) == (0, DONE, "")
    assert_the_four_belong_together(env, 2048)
    assert env["API_KEY"] == "a$b${HOME}"
    assert env["CLIENT_ID"] == ""
    assert env.path.read_text(encoding="utf-8").startswith("# my org\nPRIVATE_KEY='-----BEGIN")
    assert mode(env.path) == 0o600
    assert sandbox.connections == 0
    assert [path.name for path in env.path.parent.iterdir()] == [".env"]


@pytest.mark.parametrize("bits", [3072, 4096])
def test_a_longer_key_can_be_asked_for_and_a_missing_file_is_created(
    bits: int, run: Run, tmp_path: Path
) -> None:
    other = EnvFile(tmp_path / "prod.env")

    result = run(STEP_1, "--bits", bits, env_file=other.path)

    assert (result.returncode, result.stdout, result.stderr) == (0, DONE, "")
    assert_the_four_belong_together(other, bits)
    assert list(other.values()) == list(KEY_NAMES)
    assert mode(other.path) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["prod.env"]


def test_a_file_in_a_folder_that_is_not_there_is_one_sentence(run: Run, tmp_path: Path) -> None:
    result = run(STEP_1, env_file=tmp_path / "nowhere" / ".env")

    assert (result.returncode, result.stdout) == (1, "")
    assert str(tmp_path / "nowhere" / ".env") in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("held", "app"),
    [
        pytest.param({"PRIVATE_KEY": "a key"}, "", id="private-key"),
        pytest.param({"MODULUS": "a modulus"}, "", id="modulus"),
        pytest.param({"MODULUS": "a modulus"}, "0oaOfTheFile", id="registered"),
    ],
)
def test_a_key_in_the_file_is_not_replaced_unasked(
    held: dict[str, str], app: str, env: EnvFile, run: Run
) -> None:
    env.write(**held, CLIENT_ID=app)
    before = env.path.read_bytes()

    result = run(STEP_1)

    assert (result.returncode, result.stdout) == (1, "")
    assert env.path.read_bytes() == before
    assert "--force" in result.stderr
    assert next(iter(held)) in result.stderr
    assert ("create_okta_service_app.py" in result.stderr) == bool(app)
    assert app in result.stderr
    assert [path.name for path in env.path.parent.iterdir()] == [".env"]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("PRIVATE_KEY='a\nkey'\nexport PRIVATE_KEY\n", id="export"),
        pytest.param("PRIVATE_KEY=a # why\nA=1\nPRIVATE_KEY=\n", id="cleared-later"),
        pytest.param("MODULUS=a\r\nMODULUS=''\r\n", id="modulus"),
        pytest.param("'PRIVATE_KEY'=a\nPRIVATE_KEY\n", id="quoted-name"),
        pytest.param(f"PRIVATE_KEY=a\n{(ROOT / '.env.example').read_text()}", id="the-example"),
    ],
)
def test_a_key_that_a_later_line_hides_is_not_replaced_either(
    text: str, env: EnvFile, run: Run
) -> None:
    env.path.write_bytes(text.encode())

    refused, missed = run(STEP_1), run(STEP_3)

    assert refused.returncode == 1
    assert "a key already exists: " in refused.stderr
    assert "remove the line further down that clears " in refused.stderr
    assert env.path.read_bytes() == text.encode()
    assert [path.name for path in env.path.parent.iterdir()] == [".env"]
    assert ("clears PRIVATE_KEY again" in missed.stderr) == ("MODULUS=a" not in text)
    assert run(STEP_1, "--force").returncode == 0
    assert env.path.with_name(".env.previous").read_bytes() == text.encode()


def test_a_key_in_the_environment_is_no_hindrance_but_shadows_the_new_one(
    env: EnvFile, run: Run
) -> None:
    result = run(STEP_1, env={"PRIVATE_KEY": "a key", "MODULUS": "a modulus", "KEY_ID": ""})

    assert (result.returncode, result.stdout) == (0, DONE)
    assert_the_four_belong_together(env, 2048)
    warned = [line for line in result.stderr.splitlines() if "environment" in line]
    assert len(warned) == 2
    assert [name for name in KEY_NAMES if any(f" {name} " in line for line in warned)] == [
        "PRIVATE_KEY",
        "MODULUS",
    ]
    assert "a modulus" not in result.stderr


def test_force_replaces_the_key_and_keeps_every_earlier_file(
    env_with_key: EnvFile, run: Run, tmp_path: Path
) -> None:
    file = EnvFile(tmp_path / "prod.env")
    text = env_with_key.path.read_text(encoding="utf-8")
    file.path.write_text(f"{text}\n# end\nCLIENT_ID=0oaOfTheFile\n", encoding="utf-8")
    first_file = file.path.read_bytes()
    file.path.chmod(0o644)

    first = run(STEP_1, "--force", env_file=file.path)
    second_file = file.path.read_bytes()
    second = run(STEP_1, "--force", env_file=file.path)

    assert [first.returncode, second.returncode] == [0, 0]
    assert first.stdout == second.stdout == DONE
    previous = tmp_path / "prod.env.previous"
    assert previous.read_bytes() == second_file
    assert "0644" in first.stderr
    earlier = tmp_path / "prod.env.previous.1"
    assert earlier.read_bytes() == first_file
    for result in (first, second):
        assert f"to go back: mv {previous} {file.path}\n" in result.stderr
    assert [mode(path) for path in (file.path, previous, earlier)] == [0o600] * 3
    assert_the_four_belong_together(file, 2048)
    assert len({first_file, second_file, file.path.read_bytes()}) == 3
    assert file["CLIENT_ID"] == "0oaOfTheFile"
    assert env_with_key.path.read_text(encoding="utf-8") == text


def test_force_has_nothing_to_keep_where_there_is_no_file(run: Run, tmp_path: Path) -> None:
    result = run(STEP_1, "--force", env_file=tmp_path / "prod.env")

    assert (result.returncode, result.stderr) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["prod.env"]


@pytest.mark.parametrize("source", ["PRIVATE_KEY", "MODULUS", "environment"])
def test_print_jwk_prints_the_public_key_alone_and_changes_nothing(
    source: str,
    env_with_key: EnvFile,
    run: Run,
    key: rsa.RSAPrivateKey,
    other_key: rsa.RSAPrivateKey,
) -> None:
    given = {"PRIVATE_KEY": env_with_key["PRIVATE_KEY"] or ""}
    for name in {"PRIVATE_KEY", "MODULUS", "PUBLIC_KEY", "KEY_ID"} - {source}:
        env_with_key.write(**{name: ""})
    before = env_with_key.path.read_bytes()

    result = run(STEP_1, "--print-jwk", env=given if source == "environment" else {})

    assert (result.returncode, result.stderr) == (0, "")
    jwk = json.loads(result.stdout)
    assert result.stdout == json.dumps(jwk, indent=2) + "\n"
    assert jwk == public_jwk(key) | {"use": "sig", "alg": "RS256"} != public_jwk(other_key)
    assert env_with_key.path.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "code"),
    [("", 1), ("--force", 2), ("--bits 2048", 2)],
    ids=["no-key", "force", "bits"],
)
def test_print_jwk_makes_no_key(options: str, code: int, env: EnvFile, run: Run) -> None:
    before = env.path.read_bytes()
    result = run(STEP_1, "--print-jwk", *options.split())
    assert (result.returncode, result.stdout) == (code, "")
    assert env.path.read_bytes() == before
