"""create_okta_service_app.py on an existing app: its key, its scopes, its admin roles."""

import re
from typing import Any

import pytest
from conftest import GENERATE_KEYS, GET_TOKEN, SCOPES
from faults import Action, html, patch, status
from joserfc.jwk import RSAKey
from scene import FORBIDDEN, GRANTED, Scene, instead, refused, with_body

from pkj.app import grants
from pkj.okta import org as okta
from pkj.sandbox.exchange import Response

GRANTS, ROLES = "/api/v1/apps/{id}/grants", "/oauth2/v1/clients/{id}/roles"
KEYS = "/api/v1/apps/{id}/credentials/jwks"
WELL_KNOWN = "GET /.well-known/okta-organization"


def test_new_key_is_added_beside_the_old_ones_and_works(scene: Scene) -> None:
    app = scene.settled(spare := {**scene.others, "status": "INACTIVE"})
    assert scene.run(GENERATE_KEYS, "--force").returncode == 0
    assert scene.run(GET_TOKEN).returncode == 3
    scene.sandbox.seen.clear()
    result = scene.ends(0)
    assert scene.changes() == [f"POST {KEYS.format(id=app.id)}"]
    (sent,) = scene.bodies()
    assert sent["n"] == scene.env["MODULUS"]
    assert sent["kid"] == RSAKey.import_key(sent).thumbprint() == scene.env["KEY_ID"]
    assert [key["kid"] for key in app.keys] == [scene.ours["kid"], spare["kid"], sent["kid"]]
    assert [key["status"] for key in app.keys] == ["ACTIVE", "INACTIVE", "ACTIVE"]
    assert f"the key {sent['kid']} was added" in result.stderr
    assert f"also trusts other keys: {scene.ours['kid']}; if nothing uses them" in result.stderr
    assert scene.run(GET_TOKEN).returncode == 0


def test_key_without_a_kid_must_be_fixed_first(scene: Scene) -> None:
    scene.named({**scene.others, "kid": None})
    for options in ([], ["--dry-run"]):
        assert "give it a key ID" in scene.ends(3, *options).stderr
    assert scene.changes() == []


@pytest.mark.parametrize("kid", ["O4O", None, ""])
def test_key_id_becomes_the_kid_of_our_key_at_the_app(kid: str | None, scene: Scene) -> None:
    app = scene.plant({**scene.ours, "kid": kid}, granted=SCOPES)
    scene.ends(0)
    assert (scene.env["CLIENT_ID"], scene.env["KEY_ID"]) == (app.id, kid or "")
    assert scene.changes() == []
    assert scene.run(GET_TOKEN).returncode == 0  # the org knows no other kid


def test_missing_scope_is_granted_and_others_are_listed_not_removed(scene: Scene) -> None:
    app = scene.settled()
    scene.env.write(SCOPES="okta.groups.read okta.users.read")
    revoked = {"scopeId": "okta.groups.read", "status": "INACTIVE"}
    scene.fault(f"GET /api/v1/apps/{app.id}/grants", with_body(lambda b: [*b, None, {}, revoked]))
    result = scene.ends(0)
    assert scene.changes() == [f"POST {GRANTS.format(id=app.id)}"]
    assert scene.bodies() == [{"issuer": scene.sandbox.url, "scopeId": "okta.groups.read"}]
    assert result.stdout.endswith("granted:\n\nokta.groups.read (new)\nokta.users.read\n")
    assert re.search("not in SCOPES.*: okta.users.manage\n", result.stderr)
    assert list(app.grants) == [*SCOPES.split(), "okta.groups.read"]


@pytest.mark.parametrize(
    ("line", "skip"),
    [
        (f"GET {GRANTS}", 1),  # the first look is before the grants
        (f"GET {ROLES}", 0),
        (f"POST {ROLES}", 0),
        (f"POST {GRANTS}", 0),
        ("nothing else", 0),
    ],
)
@pytest.mark.parametrize(("action", "code"), [(FORBIDDEN, 3), (refused(500, "E0000009"), 4)])
def test_refused_scope_is_named_whatever_fails_after_it(
    line: str, skip: int, action: Action, code: int, scene: Scene
) -> None:
    app = scene.settled(granted="")
    scene.env.write(ADMIN_ROLES="READ_ONLY_ADMIN")
    scene.fault(f"POST {GRANTS.format(id=app.id)}", FORBIDDEN)
    scene.fault(line.format(id=app.id), action, skip, times=None)

    broken = code == 4 and line != "nothing else"
    result = scene.ends(4 if broken else 3)
    error, _, hint = result.stderr.partition("what to do: ")
    assert "granting okta.users.read: Okta answered 403 E0000006" in error
    assert ("Super Admin" in hint, "E0000009" in error) == (True, broken)
    all_fail = line == f"POST {GRANTS}"
    assert ("granting okta.users.manage" in error, app.grants == {}) == (all_fail, all_fail)
    none = "(none)" if code == 3 else "(unknown)"
    granted = none if all_fail else "okta.users.manage (new)"
    assert result.stdout.endswith(f"///////////////// Scopes granted:\n\n{granted}\n")


@pytest.mark.parametrize("code", [201, 200])
def test_role_is_assigned_once_and_others_stay(code: int, scene: Scene) -> None:
    app = scene.settled(roles="REPORT_ADMIN")
    scene.env.write(ADMIN_ROLES="READ_ONLY_ADMIN SUPER_ADMIN REPORT_ADMIN")
    path = ROLES.format(id=app.id)
    scene.fault(f"POST {path}", patch(lambda r: Response(code, r.body, r.headers)), times=None)
    first = scene.ends(0).stderr
    assert scene.changes() == [f"POST {path}"] * 2
    assert scene.bodies() == [{"type": "READ_ONLY_ADMIN"}, {"type": "SUPER_ADMIN"}]
    assert f"the role READ_ONLY_ADMIN was assigned to the app {app.id}\n" in first
    assert ("SUPER_ADMIN lets anyone" in first, "not in ADMIN_ROLES" in first) == (True, False)
    scene.sandbox.seen.clear()
    scene.env.write(ADMIN_ROLES="READ_ONLY_ADMIN")
    second = scene.ends(0).stderr
    assert (scene.changes(), len(app.roles)) == ([], 3)
    assert not any(text in second for text in ("assigned", "SUPER_ADMIN lets anyone"))
    assert re.search("not in ADMIN_ROLES.*: REPORT_ADMIN SUPER_ADMIN\n", second)


@pytest.mark.parametrize("roles", ["", "REPORT_ADMIN"], ids=["no-role", "role"])
def test_missing_role_is_mentioned_and_the_environment_gives_none(roles: str, scene: Scene) -> None:
    app = scene.settled(roles=roles)
    result = scene.ends(0, env={"ADMIN_ROLES": "SUPER_ADMIN no/role"})
    assert (scene.changes(), list(app.roles)) == ([], roles.split())
    hints = [line for line in result.stderr.splitlines() if "403" in line]
    assert ["ADMIN_ROLES=READ_ONLY_ADMIN" in line for line in hints] == [True] * (not roles)
    assert "SUPER_ADMIN" not in result.stderr


@pytest.mark.parametrize(
    ("error", "again", "code", "said"),
    [
        ("E0000090", status(200, [{"type": "ORG_ADMIN"}]), 0, "has the role ORG_ADMIN"),
        ("E0000090", status(200, []), 3, "Okta answered 409 E0000090"),
        ("E0000090", FORBIDDEN, 3, "Okta answered 409 E0000090"),
        ("E0000999", status(200, []), 3, "Okta answered 409 E0000999"),
    ],
)
def test_only_a_role_that_this_run_assigned_is_said_to_be(
    error: str, again: Action, code: int, said: str, scene: Scene
) -> None:
    app = scene.settled()
    scene.env.write(ADMIN_ROLES="ORG_ADMIN")
    scene.fault(f"GET {ROLES.format(id=app.id)}", again, skip=1)
    scene.fault(f"POST {ROLES.format(id=app.id)}", refused(409, error))
    result = scene.ends(code)
    assert (said in result.stderr, "was assigned" in result.stderr) == (True, False)


def test_lists_that_may_not_be_read_are_explained_if_needed(scene: Scene) -> None:
    app = scene.settled()
    scene.fault(f"GET {ROLES.format(id=app.id)}", FORBIDDEN, times=None)
    assert "403" not in scene.ends(0).stderr
    scene.env.write(ADMIN_ROLES="READ_ONLY_ADMIN")
    assert "reading the admin roles" in scene.ends(3).stderr
    scene.fault(f"GET {GRANTS.format(id=app.id)}", FORBIDDEN)
    result = scene.ends(3)
    assert "reading the grants of an app" in result.stderr.partition("what to do:")[2]
    assert "Scopes granted" not in result.stdout


@pytest.mark.parametrize("done", [True, False], ids=["done", "not-done"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        (GRANTS, {"scopeId": "okta.logs.read"}),
        (GRANTS, {}),
        (GRANTS, None),
        (ROLES, {"type": "ORG_ADMIN"}),
        (ROLES, None),
        (KEYS, {"kid": "other"}),
    ],
)
def test_other_2xx_is_looked_up(path: str, body: Any, done: bool, scene: Scene) -> None:
    app = scene.named(scene.others)
    scene.env.write(ADMIN_ROLES="READ_ONLY_ADMIN", SCOPES="okta.users.read")
    body = scene.ours | body if path == KEYS else body
    scene.fault("POST " + path.format(id=app.id), (instead if done else status)(200, body))
    result = scene.ends(0 if done else 4)
    if done:
        assert result.stdout.splitlines()[-1].startswith("okta.users.read")
        assert scene.granted() == ["okta.users.read", "READ_ONLY_ADMIN"]
    assert result.stdout.endswith("granted:\n\n(none)\n") == (path == GRANTS and not done)
    assert "was assigned" not in result.stderr or app.roles


OWN = "https://pretend.okta.com"
DOCUMENTS: dict[str, tuple[Action | None, bool, int]] = {
    "as-it-is": (None, True, 0),
    "slash": (status(200, {"_links": {"organization": {"href": f"{OWN}/"}}}), True, 0),
    "no-url": (status(200, {"_links": {"organization": {"href": "javascript:x"}}}), True, 3),
    "no-link": (status(200, {"_links": {"organization": []}}), True, 3),
    "no-links": (status(200, {"_links": []}), True, 3),
    "page-404": (html(404), False, 0),
    "E0000008": (refused(404, "E0000008"), False, 0),
    "page-200": (html(200), False, 4),
}


@pytest.mark.parametrize(("action", "custom", "code"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_issuer_of_grants(action: Action | None, custom: bool, code: int, scene: Scene) -> None:
    scene.sandbox.org.okta_domain = OWN if custom else ""
    if action:
        scene.fault(WELL_KNOWN, action)
    scene.ends(code)
    issuers = [sent.get("issuer") for sent in scene.bodies("/api/v1/apps/")]
    issuer = OWN if custom and not code else scene.sandbox.url
    assert issuers == ([] if code == 4 else [issuer] * 2)
    assert scene.sent().count(WELL_KNOWN) == 1
    scene.sandbox.seen.clear()
    if not code:
        assert scene.ends(0).stdout.endswith(GRANTED)
        assert WELL_KNOWN not in scene.sent()


@pytest.mark.parametrize("domain", ["okta.com", "oktapreview.com:8443"])
def test_org_at_a_domain_of_okta_is_not_asked(domain: str) -> None:
    org = okta.Org(f"https://example.{domain}", timeout=1, note=print)
    assert grants._issuer(org) == f"https://example.{domain}"
