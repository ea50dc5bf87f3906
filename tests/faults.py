"""The mock org with misbehaving networks, proxies and servers, as a test orders them.

    sandbox.faults.add(Fault("POST /oauth2/v1/token", reset_before(), skip=1))

lets the first token request pass and resets the connection of the second. What an action
does not mention is as usual: the org does its work, and its response is sent. Responses that
something else sends in the org's place come last.
"""

import socket
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pkj.sandbox import org, server
from pkj.sandbox.certificate import Certificate
from pkj.sandbox.exchange import Request, Response, management_refusal, oauth_refusal
from pkj.sandbox.jose import shown_key
from pkj.sandbox.state import Client, service_app

PROXY_PAGE = b"""<!DOCTYPE html>
<html><head><title>Please sign in</title></head>
<body><h1>Web access is filtered here</h1></body></html>
"""


@dataclass(kw_only=True)
class Turn(server.Turn):
    """A turn that can also wait, close and reset."""

    hanging: threading.Event
    over: threading.Event

    def pause(self, seconds: float | None) -> None:
        """Wait; None waits forever. Raises ConnectionAbortedError when the sandbox stops."""
        if self.over.wait(seconds):
            raise ConnectionAbortedError("the sandbox stops")

    def close(self) -> None:
        """Close the connection in the ordinary way (FIN) at the end of this turn."""
        self.keep = False

    def reset(self) -> None:
        """Close the connection with a reset (RST) at the end of this turn: linger for 0 s."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.keep = False


Action = Callable[[Turn], None]


@dataclass(frozen=True)
class Fault:
    """`match` is how "METHOD path" of the requests begins; "" matches every one.

    The first `skip` of them pass, the next `times` (None: all) are met with `action`.
    """

    match: str
    action: Action
    skip: int = 0
    times: int | None = 1


class Faults:
    """What a sandbox was told to do wrong. The first fault that wants a request gets it.

    A fault counts the requests that reach it: those that an earlier one took are not among
    them. `hanging` is set when a `hang` begins.
    """

    def __init__(self) -> None:
        self.hanging = threading.Event()
        self._lock = threading.Lock()
        self._counted: list[tuple[Fault, list[Request]]] = []

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._counted.append((fault, []))

    def clear(self) -> None:
        """Behave from now on."""
        with self._lock:
            self._counted.clear()

    def action(self, request: Request) -> Action:
        """What to do with this request."""
        with self._lock:
            for fault, met in self._counted:
                if f"{request.method} {request.path}".startswith(fault.match):
                    met.append(request)
                    late = fault.times is not None and len(met) > fault.skip + fault.times
                    if len(met) > fault.skip and not late:
                        return fault.action
        return Turn.answer


class Org(org.Org):
    """The mock org's rules, with apps and nonces as a test needs them."""

    def add_client(self, name: str, keys: list[dict[str, Any]], **changes: Any) -> Client:
        """Add an app without the checks of registration.

        `keys` are JWKs, also ones without kid or in old encodings; `changes` are metadata
        (`application_type`, `jwks_uri`, …), `status` and `dpop_bound`, or `prefix` of its id.
        """
        status = changes.pop("status", "ACTIVE")
        dpop_bound = changes.pop("dpop_bound", False)
        prefix = changes.pop("prefix", "0oa")
        client = self.add(service_app(name) | changes, [shown_key(key) for key in keys], prefix)
        client.status, client.dpop_bound = status, dpop_bound
        return client

    def forget_nonces(self) -> str:
        """Invalidate all nonces issued so far, and issue a new one."""
        self.nonces.clear()
        return self.new_nonce()


class Sandbox(server.Sandbox):
    """The mock org, with the `faults` that a test adds."""

    org: Org

    def __init__(self, org: Org, port: int = 0, *, certificate: Certificate | None = None) -> None:
        super().__init__(org, port, certificate=certificate, handle=self._misbehave)
        self.faults = Faults()
        self._over = threading.Event()

    @property
    def connections(self) -> int:
        return self._server.handshakes

    def __exit__(self, *error: Any) -> None:
        self._over.set()
        super().__exit__(*error)

    def _misbehave(self, turn: server.Turn) -> None:
        able = Turn(**vars(turn), hanging=self.faults.hanging, over=self._over)
        self.faults.action(turn.seen.request)(able)
        turn.keep = able.keep


def patch(change: Callable[[Response], Response]) -> Action:
    """The org's response, changed."""
    return lambda turn: turn.send(change(turn.work()))


def patched_date(skew: float) -> Action:
    """The org's response with a `Date` that is `skew` seconds off."""

    def act(turn: Turn) -> None:
        response = turn.work()
        response.headers["date"] = turn.date(skew)
        turn.send(response)

    return act


def delay(seconds: float) -> Action:
    """The org's response, `seconds` late; the work is done before the wait."""

    def act(turn: Turn) -> None:
        response = turn.work()
        turn.pause(seconds)
        turn.send(response)

    return act


def drip(seconds_per_byte: float, part: Literal["headers", "body", "all"] = "body") -> Action:
    """The org's response byte by byte, or only its status line and headers, or only its body."""

    def act(turn: Turn) -> None:
        response = turn.work()
        head = turn.head(response)
        whole = head + response.encoded()
        first = len(head) if part == "body" else 1
        last = len(head) if part == "headers" else len(whole)
        turn.begin(response, whole[:first])
        for index in range(first, last):
            turn.pause(seconds_per_byte)
            turn.connection.sendall(whole[index : index + 1])
        turn.connection.sendall(whole[last:])

    return act


def chunked_forever(seconds_per_chunk: float) -> Action:
    """A chunked body (RFC 9112 section 7.1) of white space that never ends."""

    def act(turn: Turn) -> None:
        response = turn.work()
        status = f"HTTP/1.1 {response.status} Pretend\r\ncontent-type: application/json\r\n"
        turn.begin(response, f"{status}transfer-encoding: chunked\r\n\r\n".encode())
        while True:
            turn.connection.sendall(b"1\r\n \r\n")
            turn.pause(seconds_per_chunk)

    return act


def truncate() -> Action:
    """The org's response, of which the second half of the body never comes (FIN)."""

    def act(turn: Turn) -> None:
        response = turn.work()
        body = response.encoded()
        turn.begin(response, turn.head(response) + body[: len(body) // 2])
        turn.close()

    return act


def reset_before() -> Action:
    """The connection is reset (RST) and nothing was done."""
    return Turn.reset


def close_before() -> Action:
    """The connection is closed (FIN) and nothing was done."""
    return Turn.close


def reset_after() -> Action:
    """The work is done, then the connection is reset (RST) without a response."""
    return _after_work(Turn.reset)


def close_after() -> Action:
    """The work is done, then the connection is closed (FIN) without a response."""
    return _after_work(Turn.close)


def hang(*, after_work: bool) -> Action:
    """Never a response. Sets `Faults.hanging` when it begins."""

    def act(turn: Turn) -> None:
        turn.hanging.set()
        turn.pause(None)

    return _after_work(act) if after_work else act


def _after_work(end: Action) -> Action:
    def act(turn: Turn) -> None:
        turn.work()
        end(turn)

    return act


def status(code: int, body: object = None, headers: Mapping[str, str] | None = None) -> Action:
    """This response. `body` is sent as JSON, bytes as they are, None as an empty body."""
    return lambda turn: turn.send(Response(code, body, dict(headers or {})))


def html(code: int = 200) -> Action:
    """The page of a proxy."""
    return status(code, PROXY_PAGE, {"content-type": "text/html; charset=utf-8"})


def redirect(location: str, code: int = 302) -> Action:
    return status(code, None, {"location": location})


def empty() -> Action:
    return status(200)


def huge(size: int) -> Action:
    """200 and one JSON object of `size` bytes (16 at least), sent without holding it in memory."""

    def act(turn: Turn) -> None:
        headers = {"content-type": "application/json", "content-length": str(size)}
        response, opening, closing = Response(200, None, headers), b'{"padding":"', b'"}'
        turn.begin(response, turn.head(response) + opening)
        for left in range(size - len(opening) - len(closing), 0, -65536):
            turn.connection.sendall(b"x" * min(left, 65536))
        turn.connection.sendall(closing)

    return act


def rate_limit(
    limit: int, remaining: int, seconds_to_reset: int, skew: float = 0, *, with_headers: bool = True
) -> Action:
    """Okta's 429. `Date` and X-Rate-Limit-Reset are on one clock, `skew` seconds off the org's.

    `limit` 0 is the form for too many requests at a time. Shape as Okta sends it to its own
    Python SDK (tests/integration/cassettes of okta-sdk-python).
    """
    summary = "API call exceeded rate limit due to too many requests."

    def act(turn: Turn) -> None:
        headers = {"date": turn.date(skew)}
        if with_headers:
            headers["x-rate-limit-limit"] = str(limit)
            headers["x-rate-limit-remaining"] = str(remaining)
            headers["x-rate-limit-reset"] = str(int(turn.org.clock() + skew) + seconds_to_reset)
        turn.send(management_refusal(429, "E0000047", summary, headers=headers).response)

    return act


def unavailable() -> Action:
    """Okta's 400 for an overload or maintenance (the error is that of RFC 6749 section 4.1.2.1)."""
    description = "The authorization server is currently unable to handle the request."
    return lambda turn: turn.send(
        oauth_refusal(400, "temporarily_unavailable", description).response
    )


def echo(code: int, dialect: Literal["management", "oauth"]) -> Action:
    """A refusal with the request in its text, headers and body, as careless servers do it."""

    def act(turn: Turn) -> None:
        request = turn.seen.request
        headers = "\n".join(f"{name}: {value}" for name, value in request.headers.items())
        body = request.body.decode("utf-8", "replace")
        text = f"{request.method} {request.target}\n{headers}\n\n{body}"
        if dialect == "oauth":
            turn.send(oauth_refusal(code, "invalid_request", text).response)
        else:
            turn.send(management_refusal(code, "E0000003", text, text).response)

    return act
