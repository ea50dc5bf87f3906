"""What create_okta_service_app.py would change, found without changing anything."""

from collections.abc import Iterator

from pkj import keys
from pkj.app.dpop import differing
from pkj.app.grants import missing_scopes
from pkj.app.key import kid_of, ours
from pkj.app.roles import missing_roles, warn_if_none
from pkj.app.service_app import ServiceApp, Wanted
from pkj.console import APP_NAME, Console
from pkj.env import Env
from pkj.errors import OktaRefused, gathered
from pkj.okta.org import Org


def show(org: Org, env: Env, app: ServiceApp | None, wanted: Wanted, out: Console) -> None:
    """Print each change that a run would make to the app and to `.env`, or that there is none.

    Raises what the run would raise before its first change: LocalError, OktaRefused,
    NoUsableResponse.
    """
    nothing = True
    with gathered("Okta refused part of this") as refused:
        for change in _changes(org, env, app, wanted, out, refused):
            nothing = False
            out.say(f"would {change}")
    if nothing:
        out.say("nothing to change")


def _changes(
    org: Org,
    env: Env,
    found: ServiceApp | None,
    wanted: Wanted,
    out: Console,
    refused: list[OktaRefused],
) -> Iterator[str]:
    app, public = found or ServiceApp("", {}, new=True), wanted.public
    kid: str | None = public.kid
    if not found:
        yield f"register the app {wanted.name or APP_NAME!r}"
    elif key := ours(org, app, public.modulus, out):
        kid = kid_of(app, key)
    else:
        kid = keys.thumbprint(public.modulus)
        yield f"add the key {kid} to the app {app.id}"
    if app.id != env.get("CLIENT_ID"):
        yield "set CLIENT_ID in .env"
    if names := ", ".join(keys.changes(env, public, kid)):
        yield f"set {names} in .env"
    if not found and wanted.dpop:
        yield "require DPoP of the new app"
    elif found and differing(org, app, wanted.dpop):
        change = "require DPoP of" if wanted.dpop else "lift the DPoP requirement of"
        yield f"{change} the app {app.id}"
    warn_if_none(org, app, wanted.roles, out)
    for scope in missing_scopes(org, app, wanted.scopes, out):
        yield f"grant {scope}"
    for role in missing_roles(org, app, wanted.roles, out, refused):
        yield f"assign the role {role}"
