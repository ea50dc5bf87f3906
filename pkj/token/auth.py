"""OktaAuth: access tokens for `requests`, renewed before they expire."""

import logging
import os
import re
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import requests
from requests.auth import AuthBase

from pkj import keys, settings
from pkj.env import Env
from pkj.errors import LocalError, NoUsableResponse, PkjError
from pkj.masking import masked, shortened, visible
from pkj.okta.org import FOR_A_TOKEN, Org
from pkj.token.request import NONCE_WANTED, Client, Token, TokenRequest

RENEWED_BEFORE = 60
"""Seconds before a token expires at which it is replaced."""

USUAL_LIFETIME = 3600
"""Seconds that a token is assumed to last if the response has no `expires_in`: what Okta's org
authorization server always issues (developer.okta.com/docs/guides/
implement-oauth-for-okta-serviceapp)."""

log = logging.getLogger(__name__)


class OktaAuth(AuthBase):
    """Authorize the requests of a `requests.Session` with an access token for your Okta org.

        with requests.Session() as org:
            org.auth = OktaAuth(".env")
            users = org.get("https://{your_okta_domain}/api/v1/users").json()

    `env_file` holds OKTA_URL, CLIENT_ID, PRIVATE_KEY and SCOPES (optional: KEY_ID, DPOP), as
    for get_access_token.py; the environment overrides it, and the file may be missing if the
    environment has everything. Settings are read once and checked at once: LocalError is
    raised here. `timeout` is in seconds and for token requests only, which take their proxy
    and CA certificates from HTTPS_PROXY and REQUESTS_CA_BUNDLE, not from the session.

    The first request gets a token, which is renewed 60 seconds before it expires. One object
    may serve many sessions and threads; it makes one token request for all of them. Each
    request with a DPoP-bound token carries its own proof. A `use_dpop_nonce` challenge is
    answered once; it is then in `history` of the response. Retries by urllib3
    (`HTTPAdapter(max_retries=...)`) would repeat a proof: send the request again instead.

    A request may raise, besides the exceptions of requests: OktaRefused if Okta refuses the
    token, NoUsableResponse if no token could be obtained (try again later), LocalError if the
    request, or a redirect, goes to another origin than OKTA_URL's, or if its body is a
    stream that cannot be sent a second time. All are in `pkj.errors` and have a `hint`.
    Nothing is printed; what the scripts print to stderr is logged with level INFO.
    """

    def __init__(self, env_file: str | os.PathLike[str] = ".env", *, timeout: float = 30.0) -> None:
        env = Env(Path(env_file).absolute(), os.environ, log.info)
        have = env.require("OKTA_URL", "CLIENT_ID", "PRIVATE_KEY", "SCOPES")
        self._scopes, self._dpop = settings.scopes(have["SCOPES"]), settings.dpop(env.get("DPOP"))
        client_id = settings.client_id(have["CLIENT_ID"])
        self._client = Client(client_id, *keys.signing_key(env))
        self._url = settings.okta_url(have["OKTA_URL"])
        self._timeout = timeout
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._failure: PkjError | None = None
        self._attempts = 0

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the headers that this request needs; called by requests."""
        self._sign(r)
        r.register_hook("response", self._follow_up)  # type: ignore[no-untyped-call]  # types-requests has no types for it
        return r

    def _sign(
        self, request: requests.PreparedRequest, target: requests.PreparedRequest | None = None
    ) -> None:
        """Put into `request` the headers for `target`, if that is not the request itself."""
        target = target or request
        url = self._checked(target.url or "")
        request.headers.update(self._current_token().headers(target.method or "", url))

    def _checked(self, url: str) -> str:
        """Return the URL as Okta sees it. Raises LocalError unless it is the org's.

        The comparison is of text, so that no parser can find another host in the URL.
        """
        rest = url.removeprefix(self._url).removeprefix(":443")
        if url.startswith(self._url) and rest[:1] in ("", "/", "?", "#"):
            return self._url + rest
        other = shortened(visible(masked(re.findall("^[^/?#]*/*[^/?#]*", url)[0])), 100)
        raise LocalError(
            f"the token for {self._url} is not sent to {other}",
            f"use OktaAuth only for URLs that begin with {self._url}/",
        )

    def _current_token(self) -> Token:
        """Return a token that is still valid; get one if necessary, in one thread only.

        A failure, too, counts for all threads that were waiting for the token.
        """
        before = self._attempts
        with self._lock:
            if self._failure and self._attempts != before:
                raise self._failure
            if self._token is None or _is_expiring(self._token):
                self._failure = None
                try:
                    self._token = self._new_token()
                except PkjError as error:
                    self._failure = error
                    raise
                finally:
                    self._attempts += 1
            return self._token

    def _new_token(self) -> Token:
        # A new Org each time: it only waits so long for rate limits in all.
        org = Org(self._url, timeout=self._timeout, note=log.info, longest_wait=FOR_A_TOKEN)
        with closing(org):
            token = TokenRequest(org, self._client, self._scopes, self._dpop, log.info).send()
        if missing := token.missing(self._scopes):
            log.info("Okta did not grant %s", " ".join(missing))
        return token

    def _follow_up(self, response: requests.Response, **sent_with: Any) -> requests.Response:
        """Answer a nonce challenge, and prepare for a redirect."""
        request = response.request
        try:
            if self._keep_nonce(response) and _asks_for_nonce(response):
                response = self._sent_again(response, **sent_with)
                self._keep_nonce(response)
            if response.is_redirect:
                self._prepare_redirect(request, response)
        except PkjError:
            response.close()
            raise
        return response

    def _keep_nonce(self, response: requests.Response) -> bool:
        """Use the nonce of a response, if it has one, from the next proof on."""
        nonce, token = response.headers.get("DPoP-Nonce"), self._token
        if not nonce or token is None or token.prover is None:
            return False
        token.prover.api_nonce = nonce
        return True

    def _sent_again(self, response: requests.Response, **sent_with: Any) -> requests.Response:
        """Send the request with the nonce, as HTTPDigestAuth of requests answers a challenge."""
        request = response.request.copy()
        if request.body is not None and not isinstance(request.body, (bytes, str)):
            try:
                requests.utils.rewind_body(request)
            except requests.exceptions.UnrewindableBodyError as cause:
                raise LocalError(
                    "the API asked for a DPoP nonce, and the body cannot be sent a second time",
                    "make the request again, as the nonce is now known, or pass the body as bytes",
                ) from cause
        response.content  # noqa: B018 - read to its end, so that the connection can be used again
        response.close()
        self._sign(request)
        second = response.connection.send(request, **sent_with)
        second.history.append(response)
        return second

    def _prepare_redirect(
        self, request: requests.PreparedRequest, response: requests.Response
    ) -> None:
        """Sign `request` for the place that the response redirects to, or raise LocalError.

        requests copies the headers of the first request into the next one, and asks no auth
        object again. So they are changed here; the response gets a copy with those sent.
        """
        with requests.Session() as session:
            session.trust_env = False  # nothing is sent here, and ~/.netrc does not matter
            chain = session.resolve_redirects(response, request, yield_requests=True)
            try:
                following = next(chain, None)
            except ValueError as cause:  # of urllib.parse, and InvalidURL of requests
                problem = f"{self._url} redirects the request to an invalid URL"
                raise NoUsableResponse(problem, "check the URL of the request") from cause
        if following is not None:
            response.request = response.request.copy()
            self._sign(request, following)


def _is_expiring(token: Token) -> bool:
    lifetime = USUAL_LIFETIME if token.expires_in is None else token.expires_in
    return time.time() >= token.received + lifetime - RENEWED_BEFORE


def _asks_for_nonce(response: requests.Response) -> bool:
    """Return whether the API asks for a nonce: in a header (RFC 9449 section 9), or in the body,
    as Okta's token endpoint does."""
    if response.status_code not in (400, 401):
        return False
    if NONCE_WANTED in response.headers.get("WWW-Authenticate", ""):
        return True
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return False
    return isinstance(body, dict) and body.get("error") == NONCE_WANTED
