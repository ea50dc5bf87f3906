"""Granting scopes to the app."""

from collections.abc import Callable, Sequence
from urllib.parse import quote

from pkj.errors import OktaRefused
from pkj.okta import Org


def grant(org: Org, client_id: str, scope: str) -> None:
    """Let the app ask for `scope`. POST /api/v1/apps/{id}/grants; the issuer is the org's URL.

    Raises OktaRefused, NoUsableAnswer.
    """
    path = f"/api/v1/apps/{quote(client_id, safe='')}/grants"
    org.post(f"granting {scope}", path, {"issuer": org.url, "scopeId": scope})


def grant_all(
    org: Org, client_id: str, scopes: Sequence[str], granted: Callable[[str], None]
) -> None:
    """Grant each scope, telling `granted` of each that worked; a refused one stops no other.

    Raises OktaRefused that lists the refused ones, after all have been tried.
    """
    refused = []
    for scope in scopes:
        try:
            grant(org, client_id, scope)
        except OktaRefused as error:
            refused.append(error)
        else:
            granted(scope)
    if refused:
        hints = dict.fromkeys(error.hint for error in refused)
        reasons = "\n".join(f"  {error}" for error in refused)
        raise OktaRefused(f"not all scopes are granted:\n{reasons}", "\n".join(hints))
