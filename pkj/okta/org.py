"""The org: the only module that sends requests. It retries what is worth another attempt.

What is tried again for other reasons: registration (app/find.py), deletion (app/delete.py), a new
key (app/rotate.py), and a token request that Okta's refusal tells how to correct
(token/request.py).
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests

import pkj
from pkj.errors import LocalError, LostResponse, NoUsableResponse
from pkj.okta import failures, hints
from pkj.okta.responses import Response

PAUSES = (0.5, 1.5)
"""Seconds before the second and the third attempt, after a lost connection or a 5xx."""

FOR_A_TOKEN, FOR_AN_APP = 65.0, 600.0
"""Seconds that one run waits for rate limits, in all. Okta's windows are a minute long
(developer.okta.com/docs/reference/rate-limits), and a free org allows ten calls of some kinds
in each: a token takes one window at most, an app with many scopes several.
"""

LARGEST_RESPONSE = 16 * 2**20
"""Bytes. A page of 200 apps with many keys each stays well below."""

MOST_PAGES = 1000
"""Of a list; at 200 apps a page no org is larger."""

USER_AGENT = f"okta-private-key-jwt/{pkj.__version__} {requests.utils.default_user_agent()}"
"""Okta asks for one that names the client and its version (developer.okta.com/docs/reference/
core-okta-api)."""

WHOLE_RESPONSE = 4
"""A whole response may take this many times the timeout, which is for each wait in it."""

Arguments = Callable[[], Mapping[str, Any]]
"""Builds the keyword arguments for `Session.request`; called again for each attempt."""

Result = TypeVar("Result")


class Org:
    """An Okta org at `url` (as settings.okta_url returns it).

    `timeout` is in seconds, and so is `longest_wait`, for rate limits in all; `api_key` is for
    everything but tokens and metadata. Redirects are never followed, certificates always
    checked, connections kept for the next request.

    Every request raises OktaRefused, or NoUsableResponse (LostResponse if Okta may have acted),
    or LocalError; the constructor LocalError for an impossible proxy.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        note: Callable[[str], None],
        api_key: str = "",
        verbose: bool = False,
        longest_wait: float = FOR_AN_APP,
        explain: bool = False,
    ) -> None:
        failures.check_proxy(url)
        self.url = url
        self.host = urlsplit(url).netloc
        self.token_url = f"{url}/oauth2/v1/token"
        self._timeout, self._note, self._verbose = timeout, note, verbose
        self._api_key, self._explain = api_key, explain
        self._wait_left = longest_wait
        self._session = _Session()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def get(self, doing: str, path: str) -> Response:
        return self._manage(doing, "GET", path)

    def post(self, doing: str, path: str, body: object = None, *, repeat: bool = True) -> Response:
        """POST `body` as JSON. `repeat` says that sending it twice does no harm."""
        return self._manage(doing, "POST", path, body, repeat=repeat)

    def put(self, doing: str, path: str, body: object) -> Response:
        return self._manage(doing, "PUT", path, body)

    def delete(self, doing: str, path: str) -> None:
        """DELETE. Raises NoUsableResponse also for a 2xx other than 204."""
        response = self._manage(doing, "DELETE", path)
        if response.status != 204:
            problem = f"{doing}: expected 204, but {self.host} answered {response.status}"
            hint = "run this again to see whether it was deleted"
            raise NoUsableResponse(problem, hint, status=response.status)

    def pages(self, doing: str, path: str) -> Iterator[Response]:
        """Yield the response, and those that its `Link: rel="next"` leads to (RFC 8288).

        Only path and query of such a link are used: the API token goes to this org only.
        """
        seen: set[str] = set()
        while path and path not in seen and len(seen) < MOST_PAGES:
            seen.add(path)
            response = self.get(doing, path)
            yield response
            links = requests.utils.parse_header_links(response.headers.get("Link", ""))
            next_page = [link["url"] for link in links if link.get("rel") == "next"]
            if not next_page:
                return
            path = _path_of(next_page[0])
        raise NoUsableResponse(f"{doing}: the pages of the list never end", hints.OTHER_RESPONSE)

    def metadata(self, doing: str, path: str) -> Response:
        """GET a public document; no API token is sent."""
        return self._send(doing, "GET", self.url + path, dict)

    def ask_token(self, doing: str, arguments: Arguments) -> Response:
        """POST to the token endpoint (RFC 6749 section 4.4.2).

        Each attempt needs new arguments: Okta accepts a jti once, and that also counts for a
        request that it refuses, or whose response is lost.
        """
        return self._send(doing, "POST", self.token_url, arguments)

    def call(self, doing: str, path: str, arguments: Arguments) -> Response:
        """GET a path of the org's API; the arguments hold the access token."""
        return self._send(doing, "GET", self.url + path, arguments)

    def _manage(
        self, doing: str, method: str, path: str, body: object = None, *, repeat: bool = True
    ) -> Response:
        arguments = {"headers": {"Authorization": f"SSWS {self._api_key}"}, "json": body}
        return self._send(doing, method, self.url + path, lambda: arguments, repeat=repeat)

    def _send(
        self, doing: str, method: str, url: str, arguments: Arguments, *, repeat: bool = True
    ) -> Response:
        """Return the response to a request, if it is a 2xx.

        After a 429 it is sent again when the limit resets, and after a lost connection or a
        5xx after a pause, unless `repeat` is false and Okta may have carried it out.
        """
        pauses = iter(PAUSES)
        while True:
            try:
                response = self._attempt(doing, method, url, arguments())
                wait = response.limited_for
                if wait is None or wait > self._wait_left:
                    return response.accepted()
            except NoUsableResponse as error:
                again = error.retry and (repeat or not isinstance(error, LostResponse))
                pause = next(pauses, None) if again else None
                if pause is None:
                    raise
                self._note(f"{error}; retrying")
                time.sleep(pause)
            else:
                self._note(f"{doing}: Okta's rate limit is reached; retrying in {wait:.0f} seconds")
                self._wait_left -= wait
                time.sleep(wait)

    def _attempt(self, doing: str, method: str, url: str, arguments: Mapping[str, Any]) -> Response:
        started, outcome = time.monotonic(), "no response"
        try:
            response = _within(
                WHOLE_RESPONSE * self._timeout,
                lambda: self._exchange(doing, method, url, arguments),
            )
            if response is None:
                self._session = _Session()  # the old one's connection is still busy
                problem = f"{doing}: the response of {self.host} did not finish in time"
                raise LostResponse(problem, hints.NO_RESPONSE)
            outcome = str(response.status)
            if request_id := response.headers.get("X-Okta-Request-Id"):
                outcome += f" request-id={response.shown(request_id, 60)}"
        except failures.FAILURES as cause:
            raise failures.explained(doing, self.host, cause, _secrets_in(arguments)) from cause
        finally:
            if self._verbose:
                took = (time.monotonic() - started) * 1000
                self._note(f"{method} {url} {took:.0f} ms {outcome}")
        if self._explain:
            from pkj.okta import explain  # few runs need it

            self._note(f"{explain.response(response)}\n")
        return response

    def _exchange(
        self, doing: str, method: str, url: str, arguments: Mapping[str, Any]
    ) -> Response:
        with self._session.request(
            method,
            url,
            auth=self._going_out,
            timeout=self._timeout,
            allow_redirects=False,
            stream=True,
            **arguments,
        ) as received:
            content = bytearray()
            for chunk in _chunks(received):
                content += chunk
                if len(content) > LARGEST_RESPONSE:
                    problem = f"the response of {self.host} is over {LARGEST_RESPONSE} bytes"
                    hint, status = hints.OTHER_RESPONSE, received.status_code
                    raise NoUsableResponse(f"{doing}: {problem}", hint, status=status)
        hide = _secrets_in(arguments)
        return Response(doing, url, received.status_code, received.headers, bytes(content), hide)

    def _going_out(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        # requests calls this with each request in its final form. Without an `auth`, it would
        # replace our Authorization header by what ~/.netrc has for the host
        # (requests.readthedocs.io/en/latest/user/authentication).
        if self._explain:
            from pkj.okta import explain

            self._note(f"{explain.request(request)}\n")
        return request


def as_sent(url: str) -> str | None:
    """Return the URL as requests would send it, None if it cannot."""
    try:
        return requests.Request("GET", url).prepare().url
    except failures.FAILURES:
        return None


def _within(seconds: float, work: Callable[[], Result]) -> Result | None:
    """Return or raise what `work()` does; return None if that takes longer than `seconds`.

    The timeouts of requests are for each wait for a byte, not for the whole: a body, or headers,
    that arrive a byte at a time never reach them, and a name look-up has none
    (requests.readthedocs.io/en/latest/user/advanced/#timeouts). So the work has a thread of its
    own, which is abandoned when the time is up, and ends with the process. Raises LocalError if
    the system has no thread left.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def carry_out() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - handed over, and raised below
            errors.append(error)

    thread = threading.Thread(target=carry_out, daemon=True)
    try:
        thread.start()
    except RuntimeError as cause:
        hint = "end other processes, or raise `ulimit -u`"
        raise LocalError("this machine cannot start another thread", hint) from cause
    thread.join(seconds)
    if errors:
        raise errors[0]
    return results[0] if results else None


def _chunks(received: requests.Response) -> Iterator[bytes]:
    try:
        yield from received.iter_content(2**16)
    except ValueError as cause:  # urllib3 reads on after a negative chunk size
        raise requests.exceptions.ChunkedEncodingError(cause) from cause


def _path_of(link: str) -> str:
    """Return path and query of a link, empty if they cannot be requested from this org."""
    try:
        address = urlsplit(link)
    except ValueError:
        return ""
    return f"{address.path}?{address.query}" if address.path.startswith("/") else ""


def _secrets_in(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the API token, access token, assertion and proof of a request."""
    headers = [value.rpartition(" ")[2] for value in arguments.get("headers", {}).values()]
    return (*headers, *filter(None, [arguments.get("data", {}).get("client_assertion")]))


class _Adapter(requests.adapters.HTTPAdapter):
    """Drops every cookie unread: Okta's API needs none, and http.cookiejar warns, with a
    traceback, about each one that it cannot parse."""

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        # requests.cookies.extract_cookies_to_jar reads them from the same attribute.
        if original := getattr(resp, "_original_response", None):
            del original.msg["Set-Cookie"]
        return super().build_response(req, resp)


class _Session(requests.Session):
    """Never asks where a redirect leads: requests would parse it even where none is followed,
    and fail with whatever that raises."""

    def __init__(self) -> None:
        super().__init__()
        self.mount("https://", _Adapter())
        self.headers.update({"Accept": "application/json", "Accept-Encoding": "identity"})
        self.headers["User-Agent"] = USER_AGENT

    def get_redirect_target(self, _: requests.Response) -> None:
        return None
