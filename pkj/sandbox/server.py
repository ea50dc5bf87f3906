"""Serve a mock org over HTTP and TLS on 127.0.0.1, with one thread for each connection."""

import contextlib
import http.server
import socket
import socketserver
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any

from pkj.sandbox.certificate import Certificate, make_certificate
from pkj.sandbox.exchange import Request, Response
from pkj.sandbox.org import Org

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")
LARGEST_BODY = 1 << 20
LARGEST_SKIPPED = 16 << 20
SECONDS_TO_STOP = 0.1

TakeTurn = Callable[[ssl.SSLSocket, int, Request, Response | None], bool]


@dataclass
class Seen:
    """A request that arrived, and the status of its response.

    `response_status` is None until a response is being sent, and stays None if none is.
    `connection` counts TLS connections from 1.
    """

    request: Request
    response_status: int | None
    connection: int


@dataclass
class Turn:
    """One request being answered. `keep` says whether the connection stays open after it."""

    seen: Seen
    org: Org
    connection: ssl.SSLSocket
    keep: bool = True

    def work(self) -> Response:
        """Return the org's response without sending it."""
        return self.org.answer(self.seen.request)

    def answer(self) -> None:
        """Send the org's response."""
        self.send(self.work())

    def send(self, response: Response) -> None:
        """Send the whole response in one write: a second would wait for the first (Nagle)."""
        self.begin(response, self.head(response) + _body(response))

    def begin(self, response: Response, first: bytes) -> None:
        """Record the status, and send the first bytes."""
        self.seen.response_status = response.status
        self.connection.sendall(first)

    def head(self, response: Response) -> bytes:
        """Return status line and headers; those of the response override the usual ones."""
        headers = {"date": self.date()} | _framing(response)
        headers |= {name.lower(): value for name, value in response.headers.items()}
        lines = [f"HTTP/1.1 {response.status} {_reason(response.status)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")

    def date(self, skew: float = 0) -> str:
        """Return the org's time, `skew` seconds off, as a `Date` header."""
        return formatdate(self.org.clock() + skew, usegmt=True)


def _body(response: Response) -> bytes:
    return b"" if response.status == HTTPStatus.NO_CONTENT else response.encoded()


def _framing(response: Response) -> dict[str, str]:
    """Return the headers for the body; a 204 has none (RFC 9110 section 8.6)."""
    if response.status == HTTPStatus.NO_CONTENT:
        return {}
    framing = {"content-length": str(len(response.encoded()))}
    if not isinstance(response.body, bytes | None):
        framing["content-type"] = "application/json"
    return framing


def _reason(status: int) -> str:
    return HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Unknown"


class Server(socketserver.ThreadingTCPServer):
    """Listen at once; `serve_forever` accepts connections. Raises OSError for a used port.

    `take_turn(connection, number, request, refusal)` answers one request and says whether
    the connection stays open. `number` counts connections from 1; `refusal` is the response
    to send when the request was one that HTTP or our limits do not allow.
    """

    daemon_threads = True
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(self, port: int, context: ssl.SSLContext, take_turn: TakeTurn) -> None:
        super().__init__(("127.0.0.1", port), Connection)
        self.context = context
        self.take_turn = take_turn
        self.handshakes = 0
        self._stopping = False
        self._lock = threading.Lock()
        self._open: dict[ssl.SSLSocket, threading.Thread] = {}

    def opened(self, connection: ssl.SSLSocket) -> None:
        with self._lock:
            if self._stopping:
                connection.close()
                raise ConnectionAbortedError("the server stops")
            self._open[connection] = threading.current_thread()

    def greeted(self) -> int:
        with self._lock:
            self.handshakes += 1
            return self.handshakes

    def closed(self, connection: ssl.SSLSocket) -> None:
        with self._lock:
            del self._open[connection]
        connection.close()

    def stop(self) -> None:
        """End everything, and wait a moment until the threads have noticed."""
        with contextlib.suppress(OSError):  # macOS refuses it for a socket that listens
            self.socket.shutdown(socket.SHUT_RDWR)  # wakes the loop at once
        self.shutdown()
        self.server_close()
        with self._lock:
            self._stopping = True
            threads = list(self._open.values())
            for connection in self._open:
                with contextlib.suppress(OSError):  # the client can be faster
                    # Not SSLSocket.shutdown: it drops the TLS state that a thread is using.
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
        deadline = time.monotonic() + SECONDS_TO_STOP
        for thread in threads:
            thread.join(max(0, deadline - time.monotonic()))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report bugs only, not clients that disconnect or do not trust the certificate."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Connection(http.server.BaseHTTPRequestHandler):
    """One connection, from the TLS handshake to the last request on it."""

    server: Server
    connection: ssl.SSLSocket
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        """Do the handshake in the connection's own thread, so that no other has to wait."""
        self.request = self.server.context.wrap_socket(
            self.request, server_side=True, do_handshake_on_connect=False
        )
        self.server.opened(self.request)
        try:
            self.request.do_handshake()
            self.number = self.server.greeted()
            super().setup()
        except OSError:
            self.server.closed(self.request)
            raise

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            self.server.closed(self.connection)

    def _take_turn(self) -> None:
        body, refusal = self._body()
        request = Request(self.command, self.path, self._lower_headers(), body)
        keep = self.server.take_turn(self.connection, self.number, request, refusal)
        self.close_connection = self.close_connection or not keep

    def _body(self) -> tuple[bytes, Response | None]:
        """Return the body, and the response to send if it cannot be read."""
        closing = {"connection": "close"}
        length = self.headers.get("content-length", "0")
        if "transfer-encoding" in self.headers:
            try:
                return self._chunked(), None
            except ValueError:
                return b"", Response(400, None, closing)
        if not (length.isascii() and length.isdecimal()):
            return b"", Response(400, None, closing)
        if int(length) > LARGEST_BODY:
            # Closing with unread data sends a reset, which would overtake the response.
            self._read(min(int(length), LARGEST_SKIPPED))
            return b"", Response(413, None, closing)
        return self._read(int(length)), None

    def _chunked(self) -> bytes:
        """Read a chunked body (RFC 9112 section 7.1). Raises ValueError if it is unusable."""
        body = b""
        while size := int(self.rfile.readline(1024).partition(b";")[0], 16):
            if not 0 < size <= LARGEST_BODY - len(body):
                raise ValueError("not a chunk, or too much")
            body += self._read(size + 2)[:-2]
        while self.rfile.readline(1024).strip():
            pass
        return body

    def _read(self, length: int) -> bytes:
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionAbortedError("the client went away")
        return body

    def _lower_headers(self) -> dict[str, str]:
        """Join repeated headers (RFC 9110 section 5.3), so that the rules can refuse them."""
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            before = headers.get(name.lower())
            headers[name.lower()] = value if before is None else f"{before}, {value}"
        return headers

    def log_message(self, *_: object) -> None:
        """Print nothing: the caller decides what is logged."""


for _method in METHODS:  # the names that http.server looks for
    setattr(Connection, f"do_{_method}", Connection._take_turn)


class Sandbox:
    """A mock org for a `with` block. Port 0 picks a free one; a used one raises OSError.

    `url` is its address and `ca_file` the path of the PEM file to trust (gone afterwards),
    `seen` every request in order of arrival, `connections` the number of completed TLS
    handshakes. With another `certificate`, clients can be shown one that they must refuse.
    `handle` answers each request, and `on_response` is called after it.
    """

    def __init__(
        self,
        org: Org,
        port: int = 0,
        *,
        certificate: Certificate | None = None,
        handle: Callable[[Turn], None] = Turn.answer,
        on_response: Callable[[Seen], None] | None = None,
    ) -> None:
        self.org = org
        self.seen: list[Seen] = []
        self._port = port
        self._certificate = certificate or make_certificate()
        self._handle = handle
        self._on_response = on_response

    def __enter__(self) -> "Sandbox":
        self._server = Server(self._port, self._certificate.context, self._take_turn)
        self.url = self.org.url = f"https://127.0.0.1:{self._server.server_address[1]}"
        self._folder = tempfile.TemporaryDirectory(prefix="pkj-")
        self.ca_file = str(Path(self._folder.name, "ca.pem"))
        Path(self.ca_file).write_bytes(self._certificate.ca_pem)
        loop = {"poll_interval": 0.05}  # how often it checks whether to stop, in seconds
        threading.Thread(target=self._server.serve_forever, kwargs=loop, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.stop()
        self._folder.cleanup()

    def _take_turn(
        self, connection: ssl.SSLSocket, number: int, request: Request, refusal: Response | None
    ) -> bool:
        seen = Seen(request, None, number)
        self.seen.append(seen)
        turn = Turn(seen, self.org, connection)
        try:
            if refusal:
                turn.send(refusal)
                turn.keep = False
            else:
                self._handle(turn)
        finally:
            if self._on_response:
                self._on_response(seen)
        return turn.keep
