"""A mock Okta org: requests in, answers out, no sockets.

It refuses what Okta is documented to refuse, in Okta's words. Where it is known to differ:

- Rate limits are announced and counted down, never enforced; one bucket serves all paths.
- A duplicate grant is E0000001 with `duplicate_grant_status`, 409 unless another is told: what
  Okta answers is not on record (okta-sdk-java's live test takes a success or a 400).
- Lists, deactivations: see `list_lag` and `deactivation_lag`; at Okta such delays just happen.
- With `okta_domain`, `url` is a custom domain of that org, and grants are for `okta_domain`.
- Registration takes service apps with private_key_jwt only; a missing `response_types`
  counts as `code`, and is refused. Whether Okta refuses private JWK members is not on record.
- JWKs must be strict RFC 7518; Okta's decoder looks lenient (see `lenient_jwk`). JWK members
  without a meaning here (`x5c`, `key_ops`) are dropped.
- A `jwks_uri` is kept but never fetched: such an app gets Okta's retrieval error.
- A registered client shows INACTIVE keys among the others; the app's own keys tell them apart.
- Bearer and DPoP tokens are good for `/api/v1/users` only; elsewhere E0000005, whatever the scope.
- Any role counts as big enough for `/api/v1/users`. Custom roles and role targets do not exist.
- PUT of a client, single grants and single roles cannot be read or deleted by id.
- Grants end with their app; at Okta they hang off the client id.
- DPoP nonces do not age: see `new_nonce` and `forget_nonces`. The API asks for one only
  if `api_nonces` holds any.
- A used-up jti of an assertion or a proof is remembered for as long as the org lives.
"""

import copy
import secrets
from typing import Any

from pkj.sandbox import routes
from pkj.sandbox.exchange import Answer, Refusal, Request
from pkj.sandbox.key_rules import shown_key
from pkj.sandbox.state import Client, OrgState, service_app

RATE_LIMIT = 600
RATE_WINDOW = 60
COUNTED = ("/api/v1/", "/oauth2/v1/")


class Org(OrgState):
    """The org and everything that tests may flip; settings are attributes (see `OrgState`)."""

    _window_end = 0
    _remaining = RATE_LIMIT

    def answer(self, request: Request) -> Answer:
        """Answer one request; safe to call from many threads. Never raises."""
        with self.lock:
            try:
                answer = routes.answer(self, request)
            except Refusal as refusal:
                answer = refusal.answer
            # A copy: another thread may change the app before this answer is sent.
            answer.body = copy.deepcopy(answer.body)
            answer.headers["x-okta-request-id"] = secrets.token_hex(16)
            if self.api_nonces and request.path.startswith("/api/v1/"):
                answer.headers["dpop-nonce"] = self.api_nonces[-1]  # RFC 9449 section 8.2
            if request.path.startswith(COUNTED):
                answer.headers |= {"cache-control": "no-cache, no-store"} | self._rate_headers()
        return answer

    def add_client(self, name: str, keys: list[dict[str, Any]], **changes: Any) -> Client:
        """Plant an app, whatever registration would say to it.

        `keys` are JWKs, also ones without kid or in old encodings; `changes` are metadata
        (`application_type`, `jwks_uri`, …), `status` and `dpop_bound`, or `prefix` of its id.
        """
        status = changes.pop("status", "ACTIVE")
        dpop_bound = changes.pop("dpop_bound", False)
        prefix = changes.pop("prefix", "0oa")
        client = self.add(service_app(name) | changes, [shown_key(key) for key in keys], prefix)
        client.status, client.dpop_bound = status, dpop_bound
        return client

    def _rate_headers(self) -> dict[str, str]:
        now = self.now()
        if not now < self._window_end <= now + RATE_WINDOW:
            self._window_end, self._remaining = now + RATE_WINDOW, RATE_LIMIT
        self._remaining = max(self._remaining - 1, 1)
        return {
            "x-rate-limit-limit": str(RATE_LIMIT),
            "x-rate-limit-remaining": str(self._remaining),
            "x-rate-limit-reset": str(self._window_end),
        }
