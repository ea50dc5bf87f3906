"""Retiring old keys: only once the key in use is proven, and no key but signing keys."""

import pytest
from conftest import STEP_2, STEP_3, Run, public_jwk
from cryptography.hazmat.primitives.asymmetric import rsa
from faults import Fault, patch
from test_delete_app import terminal
from test_rotate import ADD, BAD_PROOF, FAULTS, TOKEN, Life, life

from pkj import keys
from pkj.sandbox.exchange import Response, management_refusal
from pkj.sandbox.jose import shown_key

RETIRE = "--retire-old-keys"
RETIRED = "///////////////// Old keys retired:\n\nactive\ninactive\n"
REQUESTS = ["client", "status", "keys", "prove", "deactivate", "delete", "delete-inactive"]
GONE = management_refusal(404, "E0000007", "Not found: Resource not found")
__all__ = ["life"]


@pytest.fixture
def old(life: Life, other_key: rsa.RSAPrivateKey) -> list[str]:
    """The app holds two keys to retire and one for encryption; the requests to retire them."""
    for kid, use in (("active", "sig"), ("inactive", None), ("encrypts", "enc")):
        changes = {"kid": kid, "use": use, "status": "INACTIVE" if use is None else "ACTIVE"}
        life.app.keys.append(shown_key(public_jwk(other_key) | changes))
    first, second = (
        f"/api/v1/apps/{life.app.id}/credentials/jwks/{life.app.keys[n]['id']}" for n in (1, 2)
    )
    return [TOKEN, f"POST {first}/lifecycle/deactivate", f"DELETE {first}", f"DELETE {second}"]


def test_every_other_signing_key_is_deleted_after_a_proof(life: Life, old: list[str]) -> None:
    ended = life.ran(STEP_2, RETIRE, "--yes")
    assert (ended.returncode, ended.stdout) == (0, RETIRED), ended.stderr
    assert (life.changes(), len(life.sandbox.seen)) == (old, len(REQUESTS))
    assert life.kids() == [life.env["KEY_ID"], "encrypts"]
    life.fails(0, "nothing to retire", f"{RETIRE} --yes")
    assert life.changes() == old


@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "from-then-on"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("number", range(len(REQUESTS)), ids=REQUESTS)
@pytest.mark.usefixtures("old")
def test_a_retirement_stopped_at_any_request_can_be_run_again(
    number: int, fault: str, for_ever: bool, life: Life
) -> None:
    action, times, code = FAULTS[fault]
    life.sandbox.faults.add(Fault("", action, skip=number, times=None if for_ever else times))
    ended = life.ran(STEP_2, RETIRE, "--yes")
    assert ended.returncode == code, ended.stderr
    assert number > ADD or life.kids()[1:] == ["active", "inactive", "encrypts"]
    forbidden = fault == "refused" and number > ADD
    assert ("only a Super Admin may change" in ended.stderr) == forbidden
    life.sandbox.faults.clear()
    assert life.ran(STEP_3).returncode == 0
    assert life.ran(STEP_2, RETIRE, "--yes").returncode == 0
    assert life.kids() == [life.env["KEY_ID"], "encrypts"]


def test_a_key_that_is_gone_already_counts_as_deleted(life: Life, old: list[str]) -> None:
    for number in (1, 3):
        life.refuses(old[number], GONE)
    ended = life.ran(STEP_2, RETIRE, "--yes")
    assert (ended.returncode, ended.stdout) == (0, RETIRED), ended.stderr


@pytest.mark.parametrize("why", ["refused", "not-granted", "wrong-kid"])
@pytest.mark.usefixtures("old")
def test_a_key_that_gets_no_token_retires_nothing(why: str, life: Life) -> None:
    if why == "refused":
        life.refuses(TOKEN, BAD_PROOF)
    elif why == "not-granted":
        life.app.grants.clear()
    else:
        life.env.write(KEY_ID="active")
    life.fails(3, option=f"{RETIRE} --yes")
    assert life.changes() == [TOKEN]


@pytest.mark.usefixtures("old")
def test_an_env_file_that_changes_meanwhile_retires_nothing(
    life: Life, other_key: rsa.RSAPrivateKey
) -> None:
    def replace(answer: Response) -> Response:
        life.env.write(**keys.of_new_key(other_key))
        return answer

    life.sandbox.faults.add(Fault(TOKEN, patch(replace)))
    ended = life.ran(STEP_2, RETIRE, "--yes")
    assert (ended.returncode, ended.stdout, life.changes()) == (1, "", [TOKEN])


@pytest.mark.parametrize(("in_file", "code", "left"), [(True, 1, 4), (False, 0, 2)])
@pytest.mark.usefixtures("old")
def test_a_key_of_the_environment_does_not_retire_the_one_in_the_file(
    in_file: bool,
    code: int,
    left: int,
    life: Life,
    key: rsa.RSAPrivateKey,
    other_key: rsa.RSAPrivateKey,
) -> None:
    life.env.write(MODULUS="", PRIVATE_KEY=keys.private_pem(other_key) if in_file else "")
    ended = life.ran(
        STEP_2, RETIRE, "--yes", PRIVATE_KEY=keys.private_pem(key), KEY_ID=life.kids()[0]
    )
    assert (ended.returncode, len(life.kids())) == (code, left), ended.stderr


@pytest.mark.parametrize(
    ("typed", "code", "said"), [("", 0, ""), ("yes", 1, "nothing was deleted")]
)
def test_the_client_id_typed_at_a_terminal_confirms(
    typed: str, code: int, said: str, life: Life, old: list[str], run: Run
) -> None:
    with terminal(f"{typed or life.app.id}\n") as stdin:
        result = run(STEP_2, RETIRE, stdin=stdin)
    assert (result.returncode, result.stdout) == (code, "" if code else RETIRED)
    assert "\n  active\n  inactive\n" in result.stderr
    assert said in result.stderr
    assert life.changes() == (old[:1] if code else old)


@pytest.mark.usefixtures("old")
def test_without_a_terminal_nothing_is_sent_and_a_dry_run_names_the_keys(life: Life) -> None:
    life.fails(2, "add --yes", RETIRE)
    assert life.sandbox.connections == 0
    ended = life.ran(STEP_2, RETIRE, "--dry-run")
    would = "would delete the key {} of the app {}\n".format
    named = "".join(would(kid, life.app.id) for kid in ("active", "inactive"))
    assert (ended.returncode, ended.stdout, life.changes()) == (0, named, []), ended.stderr
