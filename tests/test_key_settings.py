"""The four names of a key in `.env`: written together, read together, never mixed."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import jwt
import pytest
from conftest import STEP_2, EnvFile, Run
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)
from dotenv import dotenv_values
from faults import Fault, Sandbox, patch
from joserfc.jwk import RSAKey

from pkj import keys
from pkj.env import Env
from pkj.errors import LocalError
from pkj.sandbox.exchange import Response

Settings = dict[str, str]


@pytest.fixture
def file(tmp_path: Path) -> EnvFile:
    return EnvFile(tmp_path / ".env")


def opened(file: EnvFile, **environ: str) -> Env:
    return Env(file.path, environ, print)


def of(key: rsa.RSAPrivateKey, *names: str) -> Settings:
    """What step 1 writes for the key, or some of it."""
    values = keys.of_new_key(key)
    return {name: values[name] for name in names} if names else values


def thumbprint(key: rsa.RSAPrivateKey) -> str:
    second: RSAKey = RSAKey.import_key(of(key)["PUBLIC_KEY"])
    return second.thumbprint()


def modulus(key: rsa.RSAPrivateKey) -> int:
    return key.public_key().public_numbers().n


def as_in_2021(key: rsa.RSAPrivateKey, quote: str) -> str:
    """The file as generate_keys.py of 2021 left it, through the set_key of its time."""
    n = modulus(key)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    values = {
        "PRIVATE_KEY": private.decode(),
        "PUBLIC_KEY": key.public_key()
        .public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        .decode(),
        "MODULUS": base64.encodebytes(n.to_bytes((n.bit_length() + 7) // 8, "big")).decode(),
    }
    return "".join(f"{name}={quote}{value}{quote}\n" for name, value in values.items())


def test_the_four_values_belong_to_one_key(key: rsa.RSAPrivateKey) -> None:
    values = of(key)

    assert list(values) == ["PRIVATE_KEY", "PUBLIC_KEY", "MODULUS", "KEY_ID"]
    assert load_pem_public_key(values["PUBLIC_KEY"].encode()) == key.public_key()
    second = RSAKey.import_key(values["PRIVATE_KEY"])
    assert values["MODULUS"] == second.as_dict(private=False)["n"]
    assert values["KEY_ID"] == second.thumbprint()


def test_the_scripts_of_2021_can_use_what_is_written(file: EnvFile, key: rsa.RSAPrivateKey) -> None:
    opened(file).save(of(key))

    values = dotenv_values(file.path)  # which expands variables, as they did
    assert values == of(key)
    pem = str(values["PRIVATE_KEY"])
    signed = jwt.encode({"iss": "x"}, pem, algorithm="RS256")
    assert jwt.decode(signed, str(values["PUBLIC_KEY"]), algorithms=["RS256"]) == {"iss": "x"}
    padded = str(values["MODULUS"]) + "=="
    assert int.from_bytes(base64.urlsafe_b64decode(padded), "big") == modulus(key)


@pytest.mark.parametrize("quote", ["'", '"'], ids=["single_quotes", "double_quotes"])
def test_a_file_of_2021_works_here_and_gets_the_key_id_that_it_lacks(
    file: EnvFile, key: rsa.RSAPrivateKey, quote: str
) -> None:
    file.path.write_text(as_in_2021(key, quote))
    env = opened(file)

    public = keys.public_key(env)
    signing, kid = keys.signing_key(env)

    assert public.modulus == modulus(key)
    assert public.kid == thumbprint(key)
    assert public.unsaved == {"KEY_ID": thumbprint(key)}
    assert signing.private_numbers() == key.private_numbers()
    assert kid is None, "the original registered another kid, and sent none"


@pytest.mark.parametrize(
    "there",
    [
        pytest.param({"PRIVATE_KEY": "anything"}, id="private_key"),
        pytest.param({"MODULUS": "anything"}, id="modulus"),
        pytest.param({"PRIVATE_KEY": "anything", "MODULUS": "anything"}, id="both"),
    ],
)
def test_a_key_that_is_there_is_not_replaced(file: EnvFile, there: Settings) -> None:
    file.write(**there)
    with pytest.raises(LocalError, match="a key already exists") as refused:
        keys.refuse_to_replace(opened(file))

    assert all(name in str(refused.value) for name in there)
    assert "anything" not in f"{refused.value}{refused.value.hint}"
    assert "--force" in refused.value.hint
    assert "CLIENT_ID" not in refused.value.hint


def test_the_app_that_trusts_the_key_is_named_before_it_is_replaced(file: EnvFile) -> None:
    file.write(MODULUS="x", CLIENT_ID="0oa1")
    with pytest.raises(LocalError) as refused:
        keys.refuse_to_replace(opened(file))

    assert "the app 0oa1 trusts the present key" in refused.value.hint
    assert "create_okta_service_app.py" in refused.value.hint


@pytest.mark.parametrize(
    "there",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"PRIVATE_KEY": "", "MODULUS": ""}, id="empty_names"),
        pytest.param({"KEY_ID": "k", "PUBLIC_KEY": "p", "CLIENT_ID": "0oa1"}, id="no_key"),
    ],
)
def test_where_no_key_is_none_is_protected(file: EnvFile, there: Settings) -> None:
    file.write(**there)
    keys.refuse_to_replace(opened(file))


@pytest.mark.parametrize(
    ("mode", "warned"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)], ids=oct
)
@pytest.mark.parametrize("held", [True, False])
def test_a_private_key_that_others_can_read_is_warned_of(
    mode: int, warned: bool, held: bool, tmp_path: Path, key: rsa.RSAPrivateKey
) -> None:
    file = EnvFile(tmp_path / "a b.env")
    file.write(**(of(key) if held else {"A": "1"}))
    file.path.chmod(mode)
    notes: list[str] = []

    keys.signing_key(Env(file.path, of(key, "PRIVATE_KEY"), notes.append))

    assert [f"run `chmod 600 '{file.path}'`" in note for note in notes] == [True] * (warned & held)
    assert file.path.stat().st_mode & 0o777 == mode


@pytest.mark.parametrize(
    ("names", "unsaved"),
    [
        pytest.param([], [], id="all_four"),
        pytest.param(["PRIVATE_KEY"], ["PUBLIC_KEY", "MODULUS", "KEY_ID"], id="private_key"),
        pytest.param(["PRIVATE_KEY", "KEY_ID"], ["PUBLIC_KEY", "MODULUS"], id="with_key_id"),
        pytest.param(["MODULUS"], ["KEY_ID"], id="modulus"),
        pytest.param(["MODULUS", "KEY_ID"], [], id="modulus_and_key_id"),
    ],
)
def test_what_the_file_lacks_is_derived_to_be_saved(
    file: EnvFile, key: rsa.RSAPrivateKey, names: list[str], unsaved: list[str]
) -> None:
    file.write(**of(key, *names))

    public = keys.public_key(opened(file))

    assert (public.modulus, public.kid) == (modulus(key), thumbprint(key))
    assert public.unsaved == (of(key, *unsaved) if unsaved else {})


def test_a_key_of_one_s_own_in_one_line_is_as_good(file: EnvFile, key: rsa.RSAPrivateKey) -> None:
    file.write(PRIVATE_KEY="x")
    pem = of(key)["PRIVATE_KEY"].replace("\n", "\\n")
    file.path.write_text(f"PRIVATE_KEY={pem}\n")

    public = keys.public_key(opened(file))

    assert public.unsaved == of(key, "PUBLIC_KEY", "MODULUS", "KEY_ID")


def test_the_key_id_that_the_owner_chose_stays(file: EnvFile, key: rsa.RSAPrivateKey) -> None:
    file.write(**of(key, "PRIVATE_KEY"), KEY_ID="O4O")
    env = opened(file)

    public = keys.public_key(env)

    assert public.kid == "O4O"
    assert public.unsaved == of(key, "PUBLIC_KEY", "MODULUS")
    assert keys.signing_key(env)[1] == "O4O"


def test_the_public_key_of_a_former_private_key_is_put_right(
    file: EnvFile, key: rsa.RSAPrivateKey, other_key: rsa.RSAPrivateKey
) -> None:
    file.write(**of(key, "PRIVATE_KEY"), **of(other_key, "PUBLIC_KEY"))

    assert keys.public_key(opened(file)).unsaved == of(key, "PUBLIC_KEY", "MODULUS", "KEY_ID")


@pytest.mark.parametrize(
    ("in_file", "in_environment", "where"),
    [
        pytest.param(["PRIVATE_KEY"], [], ".env", id="both_from_the_file"),
        pytest.param([], ["PRIVATE_KEY"], "the environment", id="key_from_the_environment"),
    ],
)
def test_a_modulus_of_another_key_is_refused(
    file: EnvFile,
    key: rsa.RSAPrivateKey,
    other_key: rsa.RSAPrivateKey,
    in_file: list[str],
    in_environment: list[str],
    where: str,
) -> None:
    file.write(**of(other_key, "MODULUS"), **{name: of(key)[name] for name in in_file})
    environment = {name: of(key)[name] for name in in_environment}

    with pytest.raises(LocalError, match="MODULUS is not the modulus of PRIVATE_KEY") as refused:
        keys.public_key(opened(file, **environment))

    assert where in str(refused.value)
    assert refused.value.setting == "MODULUS"


@pytest.mark.parametrize(
    ("in_file", "problem"),
    [
        pytest.param({"PRIVATE_KEY": "garbage"}, "PRIVATE_KEY cannot be read", id="private_key"),
        pytest.param({"MODULUS": "!"}, "MODULUS is not base64url", id="modulus"),
        pytest.param({"MODULUS": "AQAB"}, "MODULUS has 17 bits", id="short_modulus"),
    ],
)
def test_a_key_that_is_none_is_refused(file: EnvFile, in_file: Settings, problem: str) -> None:
    file.write(**in_file)

    with pytest.raises(LocalError, match=problem):
        keys.public_key(opened(file))


@pytest.mark.parametrize("stored", [["PRIVATE_KEY", "KEY_ID"], ["PRIVATE_KEY"]])
def test_a_key_from_the_environment_leaves_nothing_beside_the_file_s_own_key(
    file: EnvFile, key: rsa.RSAPrivateKey, other_key: rsa.RSAPrivateKey, stored: list[str]
) -> None:
    file.write(**of(other_key, *stored))

    public = keys.public_key(opened(file, **of(key, "PRIVATE_KEY")))

    assert (public.modulus, public.kid) == (modulus(key), thumbprint(key))
    assert public.unsaved == {}


def test_a_modulus_from_the_environment_leaves_nothing_beside_the_file_s_own_modulus(
    file: EnvFile, key: rsa.RSAPrivateKey, other_key: rsa.RSAPrivateKey
) -> None:
    file.write(**of(other_key, "MODULUS"))

    public = keys.public_key(opened(file, **of(key, "MODULUS")))

    assert (public.modulus, public.kid) == (modulus(key), thumbprint(key))
    assert public.unsaved == {}


def test_a_key_from_the_environment_is_described_in_a_file_that_has_none(
    file: EnvFile, key: rsa.RSAPrivateKey
) -> None:
    public = keys.public_key(opened(file, **of(key, "PRIVATE_KEY")))

    assert public.unsaved == of(key, "PUBLIC_KEY", "MODULUS", "KEY_ID")


@pytest.mark.parametrize(
    ("key_id_in_file", "key_id_in_environment", "sent"),
    [
        pytest.param("", "", None, id="no_key_id"),
        pytest.param("O4O", "", None, id="of_the_file"),
        pytest.param("thumbprint", "", "thumbprint", id="of_the_file_and_of_this_key"),
        pytest.param("", "O4O", "O4O", id="of_the_environment"),
        pytest.param("thumbprint", "O4O", "O4O", id="of_the_environment_which_wins"),
    ],
)
def test_with_a_key_from_the_environment_kid_is_sent_only_where_it_is_that_key_s(
    file: EnvFile,
    key: rsa.RSAPrivateKey,
    other_key: rsa.RSAPrivateKey,
    key_id_in_file: str,
    key_id_in_environment: str,
    sent: str | None,
) -> None:
    real = {"thumbprint": thumbprint(key)}
    stored = real.get(key_id_in_file, key_id_in_file)
    file.write(**of(other_key, "PRIVATE_KEY"), KEY_ID=stored)
    env = opened(file, **of(key, "PRIVATE_KEY"), KEY_ID=key_id_in_environment)

    signing, kid = keys.signing_key(env)

    assert signing.private_numbers() == key.private_numbers()
    assert kid == (real.get(sent, sent) if sent else None)


def test_the_signing_key_needs_no_modulus_and_looks_at_none(
    file: EnvFile, key: rsa.RSAPrivateKey, other_key: rsa.RSAPrivateKey
) -> None:
    file.write(**of(key, "PRIVATE_KEY", "KEY_ID"), **of(other_key, "MODULUS"))

    assert keys.signing_key(opened(file))[1] == thumbprint(key)


def test_a_missing_private_key_is_missed_by_name(file: EnvFile) -> None:
    with pytest.raises(LocalError, match="PRIVATE_KEY: written by generate_keys"):
        keys.signing_key(opened(file))


@pytest.mark.parametrize(
    ("change", "refuses"),
    [
        pytest.param(lambda _: {}, False, id="nothing"),
        pytest.param(lambda _: {"CLIENT_ID": "0oa1"}, False, id="another_name"),
        pytest.param(lambda other: of(other), True, id="the_whole_key"),
        pytest.param(lambda other: of(other, "MODULUS"), True, id="a_modulus_that_was_not_there"),
        pytest.param(lambda _: {"PRIVATE_KEY": ""}, True, id="the_key_taken_away"),
    ],
)
def test_a_key_replaced_by_another_process_is_noticed_before_the_save(
    file: EnvFile,
    key: rsa.RSAPrivateKey,
    other_key: rsa.RSAPrivateKey,
    change: Callable[[rsa.RSAPrivateKey], Settings],
    refuses: bool,
) -> None:
    file.write(**of(key, "PRIVATE_KEY"))
    env = opened(file)
    public = keys.public_key(env)
    check = keys.public_key(env).unchanged
    file.write(**change(other_key))
    before = file.values()

    if refuses:
        with pytest.raises(
            LocalError,
            match=r"^(PRIVATE_KEY|MODULUS)\b.* changed while this ran; ",
        ):
            env.save(public.unsaved, check=check)
        assert file.values() == before
    else:
        env.save(public.unsaved, check=check)
        assert file.values() == {**before, **of(key)}


def test_a_key_replaced_while_step_2_runs_is_not_mixed_with_the_one_it_registered(
    env: EnvFile,
    run: Run,
    sandbox: Sandbox,
    key: rsa.RSAPrivateKey,
    other_key: rsa.RSAPrivateKey,
) -> None:
    env.write(**of(key, "PRIVATE_KEY"))

    def replaced_meanwhile(answer: Response) -> Response:
        env.write(**of(other_key))
        return answer

    sandbox.faults.add(Fault("POST /oauth2/v1/clients", patch(replaced_meanwhile)))

    result = run(STEP_2)

    stored = {name: env[name] for name in of(other_key)}
    assert stored == of(other_key)
    assert result.returncode == 1, result.stderr
    assert "PRIVATE_KEY and MODULUS were changed while this ran" in result.stderr


def test_the_twin_whose_key_stays_gets_its_public_half_saved(
    env: EnvFile, run: Run, sandbox: Sandbox, key: rsa.RSAPrivateKey
) -> None:
    env.write(**of(key, "PRIVATE_KEY"))

    result = run(STEP_2)

    assert result.returncode == 0, result.stderr
    assert {name: env[name] for name in of(key)} == of(key)
    app = sandbox.org.clients[str(env["CLIENT_ID"])]
    assert thumbprint(key) in json.dumps(app, default=vars)


def test_a_key_shows_no_secret_in_its_repr(file: EnvFile, key: rsa.RSAPrivateKey) -> None:
    file.write(**of(key))
    env = opened(file)

    shown = f"{keys.public_key(env)!r} {env!r}"

    assert not [line for line in of(key)["PRIVATE_KEY"].splitlines() if line in shown]
