"""`/oauth2/v1/clients`: register, read, list and delete apps (contract: dynamic registration)."""

import base64
import re
from typing import Any
from urllib.parse import urlencode

from pkj.sandbox.admins import may_change
from pkj.sandbox.body import json_object
from pkj.sandbox.exchange import Answer, Refusal, management_refusal
from pkj.sandbox.key_rules import accepted_set
from pkj.sandbox.registration import accepted_metadata
from pkj.sandbox.state import Call, Client, OrgState

KIND = "PublicClientApp"
USUAL_PAGE = 20
LARGEST_PAGE = 200


def register(org: OrgState, call: Call) -> Answer:
    """POST: 201 with the new app."""
    sent = json_object(call.request)
    metadata = accepted_metadata(sent)
    jwks = sent.get("jwks")
    keys = [] if jwks is None else accepted_set(jwks, lenient=org.lenient_jwk)
    if org.max_apps is not None and len(org.clients) >= org.max_apps:
        reason = "Cannot create application instance. Maximum number of instances has been reached."
        summary = "Api validation failed: generalSettings"
        raise management_refusal(400, "E0000001", summary, reason)
    client = org.add(metadata, keys)
    client.unlisted = org.list_lag
    return Answer(201, client_body(client))


def read(org: OrgState, call: Call) -> Answer:
    return Answer(200, client_body(org.client(call.ids[0], KIND)))


def delete(org: OrgState, call: Call) -> Answer:
    """DELETE: 204, active or not (unlike the same app at `/api/v1/apps`)."""
    client = org.client(call.ids[0], KIND)
    may_change(call, client)
    del org.clients[client.id]
    return Answer(204)


def list_page(org: OrgState, call: Call) -> Answer:
    """GET: a page in order of creation, with `Link` to itself and to the next one."""
    query = call.request.query
    limit, after = _limit(query.get("limit")), _serial(query.get("after"))
    prefix = query.get("q", "").lower()
    matches = [
        client
        for client in org.clients.values()
        if client.serial > after
        and client.metadata["client_name"].lower().startswith(prefix)
        and not client.unlisted
    ]
    for client in org.clients.values():
        client.unlisted = max(client.unlisted - 1, 0)
    size = min(limit, org.page_limit)
    page = matches[:size]
    links = [_link(org, query, "self")]
    if len(matches) > size:
        links.append(_link(org, query | {"after": _cursor(page[-1].serial)}, "next"))
    body = [client_body(client, with_keys=org.list_shows_keys) for client in page]
    return Answer(200, body, {"link": ", ".join(links)})


def client_body(client: Client, *, with_keys: bool = True) -> dict[str, Any]:
    """A client as registration shows it: no key's id or status is in there."""
    body = {"client_id": client.id, "client_id_issued_at": client.created} | client.metadata
    if client.keys and with_keys:
        hidden = ("id", "status")
        keys = [{k: v for k, v in key.items() if k not in hidden} for key in client.keys]
        body["jwks"] = {"keys": keys}
    return body


def _limit(text: str | None) -> int:
    if text is None:
        return USUAL_PAGE
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= LARGEST_PAGE:
        reason = "limit: The field must be between 1 and 200."
        raise management_refusal(400, "E0000001", "Api validation failed: limit", reason)
    return int(text)


def _cursor(serial: int) -> str:
    return base64.urlsafe_b64encode(f"after client {serial}".encode()).decode().rstrip("=")


def _serial(cursor: str | None) -> int:
    if cursor is None:
        return 0
    try:
        text = base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4))
    except ValueError:
        raise _bad_cursor() from None
    found = re.fullmatch(rb"after client ([0-9]{1,9})", text)
    if not found:
        raise _bad_cursor()
    return int(found[1])


def _bad_cursor() -> Refusal:
    return management_refusal(400, "E0000029", "Invalid paging request.", "Invalid cursor.")


def _link(org: OrgState, query: dict[str, str], relation: str) -> str:
    parameters = f"?{urlencode(query)}" if query else ""
    return f'<{org.url}/oauth2/v1/clients{parameters}>; rel="{relation}"'
