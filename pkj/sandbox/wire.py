"""How an answer goes out on the connection, and the moves that a misbehaviour can make there."""

import socket
import ssl
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

from pkj.sandbox.exchange import Answer, Request
from pkj.sandbox.org import Org


@dataclass
class Seen:
    """A request that arrived, for tests to look at.

    `answer_status` is None until an answer begins to go out, and stays None if none does.
    `connection` counts TLS connections from 1.
    """

    request: Request
    answer_status: int | None
    connection: int


@dataclass
class Turn:
    """One request being answered. `keep` says whether the connection stays open after it."""

    seen: Seen
    org: Org
    connection: ssl.SSLSocket
    hanging: threading.Event
    over: threading.Event
    keep: bool = True

    def work(self) -> Answer:
        """What the org does and says, without sending it."""
        return self.org.answer(self.seen.request)

    def send(self, answer: Answer) -> None:
        """The whole answer, in one write: two would wait for each other (Nagle)."""
        self.begin(answer, self.head(answer) + _body(answer))

    def begin(self, answer: Answer, first: bytes) -> None:
        """Note the answer as given, and write the first bytes of it."""
        self.seen.answer_status = answer.status
        self.connection.sendall(first)

    def head(self, answer: Answer) -> bytes:
        """Status line and headers. Headers of the answer win over the ones every answer has."""
        headers = {"date": self.date(0)} | _framing(answer)
        headers |= {name.lower(): value for name, value in answer.headers.items()}
        lines = [f"HTTP/1.1 {answer.status} {_reason(answer.status)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")

    def date(self, skew: float) -> str:
        """A `Date` header by the org's clock, `skew` seconds off."""
        return formatdate(self.org.clock() + skew, usegmt=True)

    def pause(self, seconds: float | None) -> None:
        """Wait; None is for ever. Raises ConnectionAbortedError when the sandbox stops."""
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
"""What is done with a turn: the usual, or a misbehaviour."""


def _body(answer: Answer) -> bytes:
    return b"" if answer.status == HTTPStatus.NO_CONTENT else answer.encoded()


def _framing(answer: Answer) -> dict[str, str]:
    """RFC 9110 section 8.6: no Content-Length in a 204."""
    if answer.status == HTTPStatus.NO_CONTENT:
        return {}
    framing = {"content-length": str(len(answer.encoded()))}
    if not isinstance(answer.body, bytes | None):
        framing["content-type"] = "application/json"
    return framing


def _reason(status: int) -> str:
    return HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Unknown"
