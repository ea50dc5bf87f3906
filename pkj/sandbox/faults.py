"""The misbehaviours of networks, proxies and servers, told by tests, without any chance in them.

    sandbox.faults.add(Fault("POST /oauth2/v1/token", reset_before(), skip=1))

lets the first token request pass and resets the connection of the second. What an action
does not mention is as usual: the org does its work, and its answer is sent. Answers that
somebody else gives in the org's place are in `wrong_answers`.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pkj.sandbox.exchange import Answer, Request
from pkj.sandbox.wire import Action, Turn


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
        return patch(lambda answer: answer)


def patch(change: Callable[[Answer], Answer]) -> Action:
    """The org's answer, changed."""
    return lambda turn: turn.send(change(turn.work()))


def patched_date(skew: float) -> Action:
    """The org's answer with a `Date` that is `skew` seconds off."""

    def act(turn: Turn) -> None:
        answer = turn.work()
        answer.headers["date"] = turn.date(skew)
        turn.send(answer)

    return act


def delay(seconds: float) -> Action:
    """The org's answer, `seconds` late; the work is done before the wait."""

    def act(turn: Turn) -> None:
        answer = turn.work()
        turn.pause(seconds)
        turn.send(answer)

    return act


def drip(seconds_per_byte: float, part: Literal["headers", "body", "all"] = "body") -> Action:
    """The org's answer byte by byte, or only its status line and headers, or only its body."""

    def act(turn: Turn) -> None:
        answer = turn.work()
        head = turn.head(answer)
        whole = head + answer.encoded()
        first = len(head) if part == "body" else 1
        last = len(head) if part == "headers" else len(whole)
        turn.begin(answer, whole[:first])
        for index in range(first, last):
            turn.pause(seconds_per_byte)
            turn.connection.sendall(whole[index : index + 1])
        turn.connection.sendall(whole[last:])

    return act


def chunked_forever(seconds_per_chunk: float) -> Action:
    """A chunked body (RFC 9112 section 7.1) of white space that never ends."""

    def act(turn: Turn) -> None:
        answer = turn.work()
        status = f"HTTP/1.1 {answer.status} Pretend\r\ncontent-type: application/json\r\n"
        turn.begin(answer, f"{status}transfer-encoding: chunked\r\n\r\n".encode())
        while True:
            turn.connection.sendall(b"1\r\n \r\n")
            turn.pause(seconds_per_chunk)

    return act


def reset_before() -> Action:
    """The connection is reset (RST) and nothing was done."""
    return Turn.reset


def close_before() -> Action:
    """The connection is closed (FIN) and nothing was done."""
    return Turn.close


def reset_after() -> Action:
    """The work is done, then the connection is reset (RST) without an answer."""

    def act(turn: Turn) -> None:
        turn.work()
        turn.reset()

    return act


def close_after() -> Action:
    """The work is done, then the connection is closed (FIN) without an answer."""

    def act(turn: Turn) -> None:
        turn.work()
        turn.close()

    return act


def hang(*, after_work: bool) -> Action:
    """Never an answer. Sets `Faults.hanging` when it begins."""

    def act(turn: Turn) -> None:
        if after_work:
            turn.work()
        turn.hanging.set()
        turn.pause(None)

    return act


def truncate() -> Action:
    """The org's answer, of which the second half of the body never comes (FIN)."""

    def act(turn: Turn) -> None:
        answer = turn.work()
        body = answer.encoded()
        turn.begin(answer, turn.head(answer) + body[: len(body) // 2])
        turn.close()

    return act
