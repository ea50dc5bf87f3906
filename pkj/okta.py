"""The org: the one door through which requests go to Okta and answers come back."""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests

from pkj import answers, org_url, unreachable
from pkj.answers import Answer
from pkj.deadline import TookTooLong, within
from pkj.errors import LostAnswer, NoUsableAnswer, WrongHere
from pkj.masking import masked

LARGEST_ANSWER = 16 * 2**20
"""Bytes. A page of 200 apps with many keys each stays well below."""

WHOLE_ANSWER = 4
"""A whole answer may take this many times the timeout, which is for each wait in it."""


class Org:
    """An Okta org at `url` (in normal form, see org_url).

    `timeout` is in seconds; `api_key` is needed for everything but tokens and metadata.
    Connections are kept open from one request to the next. Redirects are never followed,
    certificates always checked; proxies and REQUESTS_CA_BUNDLE are honoured.
    """

    def __init__(self, url: str, *, timeout: float, api_key: str = "") -> None:
        self.url = url
        self.host = urlsplit(url).netloc
        self.token_url = f"{url}/oauth2/v1/token"
        self._timeout = timeout
        self._api_key = api_key
        self._session = _session()

    def get(self, doing: str, path: str) -> Answer:
        return self._manage(doing, "GET", path, None)

    def post(self, doing: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        return self._manage(doing, "POST", path, body)

    def delete(self, doing: str, path: str) -> Answer:
        return self._manage(doing, "DELETE", path, None)

    def pages(self, doing: str, path: str) -> Iterator[Answer]:
        """The answer, and those that its `Link: rel="next"` leads to (RFC 8288).

        Of such a link only path and query are used: the API token goes to this org alone.
        """
        seen = set()
        while path not in seen:
            seen.add(path)
            answer = self.get(doing, path)
            yield answer
            links = requests.utils.parse_header_links(answer.headers.get("Link", ""))
            next_page = [link["url"] for link in links if link.get("rel") == "next"]
            if not next_page:
                return
            address = urlsplit(next_page[0])
            path = f"{address.path}?{address.query}"
        raise NoUsableAnswer(f"{doing}: the pages of {self.host} lead back to one another")

    def metadata(self, doing: str, path: str) -> Answer:
        """GET what anybody may read; no API token is sent."""
        return self._send(doing, "GET", self.url + path, {})

    def ask_token(self, doing: str, form: Mapping[str, str]) -> Answer:
        """POST the form to the token endpoint (RFC 6749 section 4.4.2)."""
        return self._send(doing, "POST", self.token_url, {"data": form})

    def _manage(self, doing: str, method: str, path: str, body: object) -> Answer:
        headers = {"Authorization": f"SSWS {self._api_key}"}
        parts = {"headers": headers} if body is None else {"headers": headers, "json": body}
        return self._send(doing, method, self.url + path, parts)

    def _send(self, doing: str, method: str, url: str, parts: dict[str, Any]) -> Answer:
        """One request and its answer, if that is a 2xx. `doing` is for the messages.

        Raises OktaRefused, NoUsableAnswer (LostAnswer where Okta may have acted), WrongHere.
        """
        try:
            answer = within(
                WHOLE_ANSWER * self._timeout, lambda: self._exchange(doing, method, url, parts)
            )
        except TookTooLong as cause:
            self._session = _session()  # the old one's connection is still busy with the rest
            problem = f"{doing}: the answer of {self.host} did not end in time"
            raise LostAnswer(problem, "run this again later; --timeout waits longer") from cause
        except unreachable.FAILURES as cause:
            raise unreachable.explained(doing, self.host, cause) from cause
        return answers.accept(doing, answer)

    def _exchange(self, doing: str, method: str, url: str, parts: dict[str, Any]) -> Answer:
        with self._session.request(
            method,
            url,
            timeout=self._timeout,
            allow_redirects=False,
            stream=True,
            auth=_as_it_is,
            **parts,
        ) as response:
            content = bytearray()
            for chunk in response.iter_content(2**16):
                content += chunk
                if len(content) > LARGEST_ANSWER:
                    problem = f"{doing}: the answer of {self.host} is over {LARGEST_ANSWER} bytes"
                    raise NoUsableAnswer(problem, "check OKTA_URL and the proxy")
        if response.status_code >= 400:  # what refuses a request may quote it
            content = bytearray(
                masked(content.decode("utf-8", "replace"), [self._api_key]), "utf-8"
            )
        return Answer(url, response.status_code, response.headers, bytes(content))


def org(settings: Mapping[str, str], *, timeout: float) -> Org:
    """The org of OKTA_URL, with API_KEY if that is among the settings. Raises WrongHere."""
    key = api_key(settings["API_KEY"]) if "API_KEY" in settings else ""
    return Org(org_url.normal(settings["OKTA_URL"]), api_key=key, timeout=timeout)


def api_key(text: str) -> str:
    """API_KEY as it goes into a header; its `SSWS ` prefix is ours to write. Raises WrongHere."""
    key = text.removeprefix("SSWS ")
    if not re.fullmatch(r"[!-~]+", key):
        problem = "API_KEY has characters in it that no API token has"
        hint = "copy it again, in one line and without blanks"
        raise WrongHere(problem, hint, setting="API_KEY")
    return key


def _session() -> requests.Session:
    session = requests.Session()
    session.headers.update({"Accept": "application/json", "Accept-Encoding": "identity"})
    return session


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    # Without an `auth` of ours, requests puts what ~/.netrc has for the host in place of our
    # Authorization header (requests.readthedocs.io/en/latest/user/authentication).
    return request
