"""Step 2 and DPOP: one flag of the app is changed, and nothing else of it."""

import copy
import json
import re
from collections.abc import Callable

import pytest
from conftest import STEP_2, STEP_3, EnvFile, Run, plant, public_jwk
from cryptography.hazmat.primitives.asymmetric import rsa
from dpop_requests import Body, of_the_app
from faults import Action, Fault, Sandbox, reset_after, status

from pkj.sandbox.exchange import management_refusal
from pkj.sandbox.state import Client

PUT = "PUT /api/v1/apps/"
FLAG = "dpop_bound_access_tokens"


@pytest.fixture
def app(env_with_key: EnvFile, sandbox: Sandbox, key: rsa.RSAPrivateKey) -> Client:
    """An app of ours with no grants yet, and things of other people's in it."""
    client = plant(sandbox, env_with_key, key, scopes="")
    env_with_key.write(KEY_ID=public_jwk(key)["kid"])
    client.sections["settings"]["notes"] = {"admin": "keep", "enduser": "ümläut \u2028 <&>"}
    client.sections["oauth_settings"]["something_new"] = {"deep": [1, 2.5, None, True, {"x": ""}]}
    client.sections["oauth_credentials"]["pkce_required"] = True
    client.sections["visibility"]["autoLaunch"] = True
    return client


def lines_of(sandbox: Sandbox) -> list[str]:
    return [f"{seen.request.method} {seen.request.path}" for seen in sandbox.seen]


def changes_in(sandbox: Sandbox) -> list[str]:
    return [line for line in lines_of(sandbox) if not line.startswith("GET ")]


def puts_in(sandbox: Sandbox) -> list[Body]:
    """The bodies of the PUTs."""
    sent = [seen.request for seen in sandbox.seen if seen.request.method == "PUT"]
    return [json.loads(request.body) for request in sent]


def shown_by(sandbox: Sandbox, app: Client) -> list[Body]:
    """Fills with the app as the org shows it."""
    shown: list[Body] = []
    record = of_the_app(lambda body: shown.append(copy.deepcopy(body)))
    sandbox.faults.add(Fault(f"GET /api/v1/apps/{app.id}", record, times=None))
    return shown


# The flag


@pytest.mark.parametrize(
    ("word", "before", "after", "said"),
    [
        pytest.param("true", False, True, "now requires DPoP", id="true_sets_it"),
        pytest.param("false", True, False, "no longer requires DPoP", id="false_lifts_it"),
    ],
)
def test_the_flag_is_set_as_dpop_says_and_all_the_rest_goes_back_as_it_was_read(
    app: Client,
    env_with_key: EnvFile,
    run: Run,
    sandbox: Sandbox,
    word: str,
    before: bool,
    after: bool,
    said: str,
) -> None:
    app.dpop_bound = before
    env_with_key.write(DPOP=word)
    shown = shown_by(sandbox, app)
    sections, keys, metadata = copy.deepcopy((app.sections, app.keys, app.metadata))

    result = run(STEP_2)

    assert result.returncode == 0, result.stderr
    assert said in result.stderr
    assert app.dpop_bound is after
    assert (app.sections, app.keys, app.metadata) == (sections, keys, metadata)
    (put,) = puts_in(sandbox)
    expected = shown[-1]
    assert expected["settings"]["oauthClient"][FLAG] is before
    expected["settings"]["oauthClient"][FLAG] = after
    assert put == expected
    lines = lines_of(sandbox)
    place = lines.index(f"{PUT}{app.id}")
    just_before = lines[:place][::-1]
    assert just_before.index(f"GET /api/v1/apps/{app.id}") <= 1
    assert lines.index(f"POST /api/v1/apps/{app.id}/grants") > place


@pytest.mark.parametrize(
    ("word", "flag"),
    [
        pytest.param("", False, id="absent_and_not_required"),
        pytest.param("", True, id="absent_and_required"),
        pytest.param("true", True, id="true_and_required"),
        pytest.param("false", False, id="false_and_not_required"),
    ],
)
def test_no_app_is_sent_back_where_dpop_does_not_ask_for_a_change(
    app: Client, env_with_key: EnvFile, run: Run, sandbox: Sandbox, word: str, flag: bool
) -> None:
    app.dpop_bound = flag
    env_with_key.write(DPOP=word)

    result = run(STEP_2)

    assert result.returncode == 0, result.stderr
    assert (puts_in(sandbox), app.dpop_bound) == ([], flag)
    assert set(changes_in(sandbox)) == {f"POST /api/v1/apps/{app.id}/grants"}
    assert "DPoP" not in result.stderr + result.stdout.replace(FLAG, "")


@pytest.mark.parametrize("word", ["true", "false"])
def test_a_new_app_gets_the_flag_before_its_grants(
    env_with_key: EnvFile, run: Run, sandbox: Sandbox, word: str
) -> None:
    env_with_key.write(DPOP=word)

    result = run(STEP_2)

    assert result.returncode == 0, result.stderr
    (client,) = sandbox.org.clients.values()
    path = f"/api/v1/apps/{client.id}"
    put, grant = f"PUT {path}", f"POST {path}/grants"
    expected = ["POST /oauth2/v1/clients", *[put] * (word == "true"), grant, grant]
    assert changes_in(sandbox) == expected
    assert client.dpop_bound is (word == "true")
    assert len(client.grants) == 2
    assert env_with_key["DPOP"] == word
    body = json.loads(next(s for s in sandbox.seen if s.request.method == "POST").request.body)
    assert FLAG not in body


def test_a_second_run_only_reads(
    app: Client, env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    env_with_key.write(DPOP="true")

    first = run(STEP_2)
    seen = len(sandbox.seen)
    second = run(STEP_2)

    assert [first.returncode, second.returncode] == [0, 0]
    assert len(puts_in(sandbox)) == 1
    assert {seen.request.method for seen in sandbox.seen[seen:]} == {"GET"}
    assert app.dpop_bound


# A dry run


@pytest.mark.parametrize(
    ("word", "flag", "would"),
    [
        pytest.param("true", False, "would require DPoP of the app {id}", id="true"),
        pytest.param("false", True, "would lift the DPoP requirement of the app {id}", id="false"),
        pytest.param("true", True, "", id="nothing_to_change"),
        pytest.param("", True, "", id="absent"),
    ],
)
def test_a_dry_run_says_what_would_happen_to_the_flag_and_only_reads(
    app: Client,
    env_with_key: EnvFile,
    run: Run,
    sandbox: Sandbox,
    word: str,
    flag: bool,
    would: str,
) -> None:
    app.dpop_bound = flag
    env_with_key.write(DPOP=word)

    result = run(STEP_2, "--dry-run")

    assert result.returncode == 0, result.stderr
    assert changes_in(sandbox) == []
    about = [line for line in result.stdout.splitlines() if "DPoP" in line]
    assert about == ([would.format(id=app.id)] if would else [])
    assert app.dpop_bound is flag


@pytest.mark.parametrize("word", ["true", "false"])
def test_a_dry_run_says_what_a_new_app_would_require(
    env_with_key: EnvFile, run: Run, sandbox: Sandbox, word: str
) -> None:
    env_with_key.write(DPOP=word)

    result = run(STEP_2, "--dry-run")

    assert result.returncode == 0, result.stderr
    assert changes_in(sandbox) == []
    assert ("would require DPoP of the new app" in result.stdout) is (word == "true")
    assert ("DPoP" in result.stdout) is (word == "true")


# Keys


@pytest.fixture
def with_an_inactive_key(app: Client, sandbox: Sandbox, other_key: rsa.RSAPrivateKey) -> Client:
    """Beside our key another one that was switched off."""
    jwk = public_jwk(other_key) | {"kid": "retired", "status": "INACTIVE"}
    spare = sandbox.org.add_client("Spare", [jwk])
    app.keys.extend(spare.keys)
    del sandbox.org.clients[spare.id]
    return app


def test_a_key_that_is_shown_as_inactive_is_inactive_afterwards(
    with_an_inactive_key: Client, env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    env_with_key.write(DPOP="true")

    result = run(STEP_2)

    assert result.returncode == 0, result.stderr
    (put,) = puts_in(sandbox)
    sent = put["settings"]["oauthClient"]["jwks"]["keys"]
    assert [(key["status"], key["kid"] == "retired") for key in sent] == [
        ("ACTIVE", False),
        ("INACTIVE", True),
    ]
    assert [key["status"] for key in with_an_inactive_key.keys] == ["ACTIVE", "INACTIVE"]
    assert with_an_inactive_key.dpop_bound


def without_statuses(body: Body) -> None:
    for key in body["settings"]["oauthClient"]["jwks"]["keys"]:
        del key["status"]


def without_the_key(body: Body) -> None:
    del body["settings"]["oauthClient"]["jwks"]["keys"][1]


def without_keys(body: Body) -> None:
    del body["settings"]["oauthClient"]["jwks"]


def with_another_status(body: Body) -> None:
    body["settings"]["oauthClient"]["jwks"]["keys"][1]["status"] = "ACTIVE"


@pytest.mark.parametrize(
    "change",
    [without_statuses, without_the_key, without_keys, with_another_status],
    ids=["no_status", "not_there", "no_keys_at_all", "shown_as_active"],
)
def test_an_inactive_key_that_the_app_does_not_show_as_such_stops_the_change(
    with_an_inactive_key: Client,
    env_with_key: EnvFile,
    run: Run,
    sandbox: Sandbox,
    change: Callable[[Body], object],
) -> None:
    app = with_an_inactive_key
    sandbox.faults.add(Fault(f"GET /api/v1/apps/{app.id}", of_the_app(change), times=None))
    env_with_key.write(DPOP="true")

    result = run(STEP_2)

    assert result.returncode == 3
    assert changes_in(sandbox) == []
    assert "INACTIVE key retired" in result.stderr
    assert "Require Demonstrating Proof of Possession" in result.stderr
    assert (app.dpop_bound, app.keys[1]["status"]) == (False, "INACTIVE")


def without_our_kid(body: Body) -> None:
    body["settings"]["oauthClient"]["jwks"]["keys"][0]["kid"] = None


def with_another_modulus(body: Body) -> None:
    body["settings"]["oauthClient"]["jwks"]["keys"][0]["n"] = "AQAB"


def with_a_key_twice(body: Body) -> None:
    body["settings"]["oauthClient"]["jwks"]["keys"] *= 2


@pytest.mark.parametrize("held", [True, False], ids=["held", "not-held"])
@pytest.mark.parametrize(
    "change", [without_keys, without_our_kid, with_another_modulus, with_a_key_twice]
)
def test_keys_that_a_change_would_wipe_or_replace_stop_it(
    app: Client,
    env_with_key: EnvFile,
    run: Run,
    sandbox: Sandbox,
    change: Callable[[Body], object],
    held: bool,
) -> None:
    sandbox.faults.add(Fault(f"GET /api/v1/apps/{app.id}", of_the_app(change), times=None))
    if not held:  # at the second look, just before the change
        listing = f"GET /api/v1/apps/{app.id}/credentials/jwks"
        sandbox.faults.add(Fault(listing, status(200, []), skip=1))
    env_with_key.write(DPOP="true")
    keys = copy.deepcopy(app.keys)

    result = run(STEP_2)

    assert (result.returncode, changes_in(sandbox)) == (3, [])
    assert "shows other keys than it has" in result.stderr
    assert (app.dpop_bound, app.keys, app.grants) == (False, keys, {})


def test_without_a_change_such_a_key_does_not_matter(
    with_an_inactive_key: Client, env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    app = with_an_inactive_key
    app.dpop_bound = True
    action = of_the_app(without_statuses)
    sandbox.faults.add(Fault(f"GET /api/v1/apps/{app.id}", action, times=None))
    env_with_key.write(DPOP="true")

    result = run(STEP_2)

    assert (result.returncode, puts_in(sandbox)) == (0, []), result.stderr


# Refusals


def unchanged(body: Body) -> None:
    body["settings"]["oauthClient"][FLAG] = False


def without_the_flag(body: Body) -> None:
    del body["settings"]["oauthClient"][FLAG]


def without_settings(body: Body) -> None:
    del body["settings"]


REFUSED = "You do not have permission to perform the requested action"


@pytest.mark.parametrize(
    ("where", "action", "code", "said"),
    [
        pytest.param(
            "PUT",
            status(403, management_refusal(403, "E0000006", REFUSED).answer.body),
            3,
            "E0000006.*\n.*Super Admin",
            id="E0000006",
        ),
        pytest.param(
            "PUT",
            status(400, management_refusal(400, "E0000001", "Api validation failed").answer.body),
            3,
            "E0000001",
            id="E0000001",
        ),
        pytest.param("PUT", status(200), 4, "JSON object", id="an_empty_answer"),
        pytest.param("PUT", of_the_app(unchanged), 4, "did not change it", id="as_it_was"),
        pytest.param("PUT", of_the_app(without_the_flag), 4, "did not change", id="no_flag"),
        pytest.param("PUT", of_the_app(without_settings), 4, "settings", id="put_no_settings"),
        pytest.param("GET", of_the_app(without_settings), 4, "settings", id="get_no_settings"),
    ],
)
def test_a_refused_change_ends_the_step_before_anything_is_granted(
    app: Client,
    env_with_key: EnvFile,
    run: Run,
    sandbox: Sandbox,
    where: str,
    action: Action,
    code: int,
    said: str,
) -> None:
    sandbox.faults.add(Fault(f"{where} /api/v1/apps/{app.id}", action, times=None))
    env_with_key.write(DPOP="true")

    result = run(STEP_2)

    assert result.returncode == code, result.stderr
    assert re.search(said, result.stderr)
    assert "Traceback" not in result.stderr
    assert changes_in(sandbox) == [f"{PUT}{app.id}"] * (where == "PUT")
    assert app.grants == {}


def test_a_new_app_whose_flag_is_refused_keeps_its_client_id_and_the_next_run_goes_on(
    env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    body = management_refusal(403, "E0000006", REFUSED).answer.body
    sandbox.faults.add(Fault(PUT, status(403, body)))
    env_with_key.write(DPOP="true")

    first = run(STEP_2)
    (client,) = sandbox.org.clients.values()
    granted = dict(client.grants)
    second = run(STEP_2)

    assert (first.returncode, granted) == (3, {})
    assert env_with_key["CLIENT_ID"] == client.id
    assert (second.returncode, len(client.grants), client.dpop_bound) == (0, 2, True)
    assert len(sandbox.org.clients) == 1


def test_a_change_whose_answer_was_lost_is_sent_again(
    app: Client, env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault(PUT, reset_after()))
    env_with_key.write(DPOP="true")

    result = run(STEP_2)

    assert result.returncode == 0, result.stderr
    assert len(puts_in(sandbox)) == 2
    assert (app.dpop_bound, len(app.grants)) == (True, 2)


def test_dpop_false_at_an_org_that_requires_dpop_of_all_does_not_lead_in_a_circle(
    app: Client, env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    sandbox.org.require_dpop = True
    env_with_key.write(DPOP="false")

    ready, refused = run(STEP_2), run(STEP_3)

    assert (ready.returncode, refused.returncode, app.dpop_bound) == (0, 3, False)
    hint = refused.stderr.partition("what to do: ")[2]
    assert "set DPOP=true in .env" in hint
    assert "If only the app requires it, and not the whole org" in hint


def test_any_other_word_in_dpop_is_an_error_before_anything_is_sent(
    env_with_key: EnvFile, run: Run, sandbox: Sandbox
) -> None:
    env_with_key.write(DPOP="yes")

    result = run(STEP_2)

    assert (result.returncode, result.stdout, sandbox.seen) == (1, "", [])
    assert "DPOP is 'yes'" in result.stderr
