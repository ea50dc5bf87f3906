"""The org: the only module that sends requests. Also what is retried, and how long that lasts."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests

import pkj
from pkj.errors import LocalError, LostResponse, NoUsableResponse
from pkj.okta import failures as unreachable
from pkj.okta import hints, responses
from pkj.okta.responses import Response

PAUSES = (0.5, 1.5)
"""Seconds before the second and the third attempt, after a lost connection or a 5xx."""

FOR_A_TOKEN, FOR_AN_APP = 65.0, 600.0
"""Seconds that one run waits for rate limits, in all. Okta's windows are a minute long
(developer.okta.com/docs/reference/rate-limits), and a free org allows ten calls of some kinds
in each: a token takes one window at most, an app with many scopes several.
"""


class Patience:
    """How long one run goes on trying. `note` takes a line for people; `longest_wait` is in
    seconds, for rate limits in all."""

    def __init__(self, note: Callable[[str], None], longest_wait: float) -> None:
        self._note, self._left = note, longest_wait

    def answer_to(self, doing: str, attempt: Callable[[], Response], *, repeat: bool) -> Response:
        """The answer of an attempt, if that is a 2xx.

        After a 429 there is another one, when Okta welcomes it; with `repeat` (sending twice
        does no harm) also after a lost answer. Raises what attempt() and accept() raise.
        """
        pauses = iter(PAUSES)
        while True:
            try:
                answer = attempt()
                if not self._another_after(doing, answer):
                    return responses.accept(doing, answer)
            except LostResponse as lost:
                pause = next(pauses, None) if repeat and lost.in_time else None
                if pause is None:
                    raise
                self._note(f"{lost}; trying again")
                time.sleep(pause)

    def _another_after(self, doing: str, answer: Response) -> bool:
        """Wait as a 429 asks, if that is not too long; one that names no time is like a 5xx."""
        wait = answer.limited_for
        if answer.status != 429 or wait is None or wait > self._left:
            return False
        self._note(f"{doing}: Okta's rate limit is reached; trying again in {wait:.0f} seconds")
        self._left -= wait
        time.sleep(wait)
        return True


Result = TypeVar("Result")


class NoThread(Exception):
    """The system has no thread left to do the work in."""


class TookTooLong(Exception):
    """The work was not done in time; it may still be going on, unheeded."""


def within(seconds: float, work: Callable[[], Result]) -> Result:
    """What `work()` returns or raises, or TookTooLong after `seconds`. Raises NoThread.

    The timeouts of requests bound each wait for a byte, not the whole: a body, or headers,
    that come a byte at a time pass them for ever, and a name look-up has none
    (requests.readthedocs.io/en/latest/user/advanced/#timeouts). So the work has a thread
    of its own, which is left behind when time is up, and ends with the process.
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
    except RuntimeError as cause:  # "can't start new thread"
        raise NoThread from cause
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TookTooLong
    return results[0]


Parts = Callable[[], Mapping[str, Any]]
"""What a request is made of besides its address, in requests' words; asked for each time."""

LARGEST_ANSWER = 16 * 2**20
"""Bytes. A page of 200 apps with many keys each stays well below."""

MOST_PAGES = 1000
"""Of a list; at 200 apps a page no org is larger."""

USER_AGENT = f"okta-private-key-jwt/{pkj.__version__} {requests.utils.default_user_agent()}"
"""Okta asks for one that names the client and its version (developer.okta.com/docs/reference/
core-okta-api)."""

WHOLE_ANSWER = 4
"""A whole answer may take this many times the timeout, which is for each wait in it."""


class Org:
    """An Okta org at `url` (in normal form, see org_url).

    `timeout` is in seconds, and so is `longest_wait`, for rate limits in all; `api_key` is for
    everything but tokens and metadata. Redirects are never followed, certificates always
    checked, connections kept for the next request. Raises LocalError for an impossible proxy.
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
        unreachable.check_proxy(url)
        self.url = url
        self.host = urlsplit(url).netloc
        self.token_url = f"{url}/oauth2/v1/token"
        self._timeout, self._note, self._verbose = timeout, note, verbose
        self._api_key = api_key
        self._explain = explain
        self._session = _Session()
        self._patience = Patience(note, longest_wait)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def get(self, doing: str, path: str) -> Response:
        return self._manage(doing, "GET", path)

    def post(self, doing: str, path: str, body: object = None, *, repeat: bool = True) -> Response:
        """`body` goes as JSON. `repeat` says that sending it twice does no harm."""
        return self._manage(doing, "POST", path, body, repeat=repeat)

    def put(self, doing: str, path: str, body: object) -> Response:
        return self._manage(doing, "PUT", path, body)

    def delete(self, doing: str, path: str) -> Response:
        return self._manage(doing, "DELETE", path)

    def pages(self, doing: str, path: str) -> Iterator[Response]:
        """The answer, and those that its `Link: rel="next"` leads to (RFC 8288).

        Of such a link only path and query are used: the API token goes to this org alone.
        """
        seen: set[str] = set()
        while path and path not in seen and len(seen) < MOST_PAGES:
            seen.add(path)
            answer = self.get(doing, path)
            yield answer
            links = requests.utils.parse_header_links(answer.headers.get("Link", ""))
            next_page = [link["url"] for link in links if link.get("rel") == "next"]
            if not next_page:
                return
            path = _path_of(next_page[0])
        problem = f"{doing}: the pages lead back to one another or nowhere"
        raise NoUsableResponse(problem, hints.CURES[hints.OTHER_ANSWER])

    def metadata(self, doing: str, path: str) -> Response:
        """GET what anybody may read; no API token is sent."""
        return self._send(doing, "GET", self.url + path, dict)

    def ask_token(self, doing: str, parts: Parts) -> Response:
        """POST to the token endpoint (RFC 6749 section 4.4.2).

        `parts` is asked for each time: Okta takes a jti once, also from a request that it
        refuses or whose answer is lost.
        """
        return self._send(doing, "POST", self.token_url, parts)

    def call(self, doing: str, path: str, parts: Parts) -> Response:
        """GET something of the org's API with a token of one's own in the headers."""
        return self._send(doing, "GET", self.url + path, parts)

    def _manage(
        self, doing: str, method: str, path: str, body: object = None, *, repeat: bool = True
    ) -> Response:
        parts = {"headers": {"Authorization": f"SSWS {self._api_key}"}, "json": body}
        return self._send(doing, method, self.url + path, lambda: parts, repeat=repeat)

    def _send(
        self, doing: str, method: str, url: str, parts: Parts, *, repeat: bool = True
    ) -> Response:
        """A request and its answer, if that is a 2xx. `doing` is for the messages.

        Raises OktaRefused, NoUsableResponse (LostResponse where Okta may have acted), LocalError.
        """
        return self._patience.answer_to(
            doing, lambda: self._attempt(doing, method, url, parts()), repeat=repeat
        )

    def _attempt(self, doing: str, method: str, url: str, parts: Mapping[str, Any]) -> Response:
        started = time.monotonic()
        outcome = "no answer"
        try:
            answer = within(
                WHOLE_ANSWER * self._timeout, lambda: self._exchange(doing, method, url, parts)
            )
            request_id = answer.shown(answer.headers.get("X-Okta-Request-Id", ""), 60)
            outcome = str(answer.status)
            if request_id:
                outcome += f" request-id={request_id}"
        except TookTooLong as cause:
            self._session = _Session()  # the old one's connection is busy with the rest
            problem = f"{doing}: the response of {self.host} did not finish in time"
            raise LostResponse(problem, hints.CURES[hints.NO_ANSWER], in_time=False) from cause
        except NoThread as cause:
            problem = f"{doing}: this machine cannot start another thread"
            raise LocalError(problem, "end other processes, or raise `ulimit -u`") from cause
        except unreachable.FAILURES as cause:
            raise unreachable.explained(doing, self.host, cause, _secrets_in(parts)) from cause
        else:
            if self._explain:
                from pkj.okta import explain

                self._note(f"{explain.response(answer)}\n")
        finally:
            if self._verbose:
                took = (time.monotonic() - started) * 1000
                self._note(f"{method} {url} {took:.0f} ms {outcome}")
        return answer

    def _exchange(self, doing: str, method: str, url: str, parts: Mapping[str, Any]) -> Response:
        with self._session.request(
            method,
            url,
            auth=self._going_out,
            timeout=self._timeout,
            allow_redirects=False,
            stream=True,
            **parts,
        ) as response:
            content = bytearray()
            for chunk in _chunks(response):
                content += chunk
                if len(content) > LARGEST_ANSWER:
                    problem = f"{doing}: the response of {self.host} is over {LARGEST_ANSWER} bytes"
                    raise NoUsableResponse(problem, hints.CURES[hints.OTHER_ANSWER])
        headers, hide = response.headers, _secrets_in(parts)
        return Response(url, response.status_code, headers, bytes(content), hide)

    def _going_out(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        # Called by requests with each request in its final form. Without an `auth` of ours, it
        # would put what ~/.netrc has for the host in place of our Authorization header
        # (requests.readthedocs.io/en/latest/user/authentication).
        if self._explain:
            from pkj.okta import explain  # here, because few runs need it

            self._note(f"{explain.request(request)}\n")
        return request


def _chunks(response: requests.Response) -> Iterator[bytes]:
    try:
        yield from response.iter_content(2**16)
    except ValueError as cause:  # urllib3 reads on after a negative chunk size
        raise requests.exceptions.ChunkedEncodingError(cause) from cause


def as_sent(url: str) -> str | None:
    """The URL in the form in which a request for it goes out, None if none can."""
    try:
        return requests.Request("GET", url).prepare().url
    except unreachable.FAILURES:
        return None


def _path_of(link: str) -> str:
    """Path and query of a link, empty if it is none that this org could be asked for."""
    try:
        address = urlsplit(link)
    except ValueError:
        return ""
    return f"{address.path}?{address.query}" if address.path.startswith("/") else ""


def _secrets_in(parts: Mapping[str, Any]) -> tuple[str, ...]:
    """The API token, access token, assertion and proof of a request."""
    headers = [value.rpartition(" ")[2] for value in parts.get("headers", {}).values()]
    return (*headers, *filter(None, [parts.get("data", {}).get("client_assertion")]))


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
