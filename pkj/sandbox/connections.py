"""TLS connections on 127.0.0.1, a thread for each, and the HTTP/1.1 requests that come in."""

import contextlib
import http.server
import os
import socket
import socketserver
import ssl
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from pkj.sandbox.exchange import Answer, Request

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")
LARGEST_BODY = 1 << 20
LARGEST_SKIPPED = 16 << 20
SECONDS_TO_STOP = 0.1

TakeTurn = Callable[[ssl.SSLSocket, int, Request, Answer | None], bool]


class Server(socketserver.ThreadingTCPServer):
    """Listens at once; `serve_forever` accepts. A taken port raises OSError.

    `take_turn(connection, number, request, refusal)` answers one request and says whether
    the connection stays open. `number` counts connections from 1; `refusal` is the answer
    to give when the request was one that HTTP or our limits do not allow.
    """

    daemon_threads = True
    request_queue_size = 128
    # Elsewhere the option would let two servers have one port.
    allow_reuse_address = os.name == "posix"

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
            self.socket.shutdown(socket.SHUT_RDWR)  # wakes the loop, rather than wait for a poll
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
        """A client that goes away, or does not trust us, is no event. A bug here is one."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Connection(http.server.BaseHTTPRequestHandler):
    """One connection, from the TLS handshake to the last request on it."""

    server: Server
    connection: ssl.SSLSocket
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        """The handshake is here, in the connection's own thread: nobody else waits for it."""
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

    def _body(self) -> tuple[bytes, Answer | None]:
        """The body, and the answer to give where it cannot be had."""
        closing = {"connection": "close"}
        length = self.headers.get("content-length", "0")
        if "transfer-encoding" in self.headers:
            try:
                return self._chunked(), None
            except ValueError:
                return b"", Answer(400, None, closing)
        if not (length.isascii() and length.isdecimal()):
            return b"", Answer(400, None, closing)
        if int(length) > LARGEST_BODY:
            # Closing with something unread sends a reset, which would overtake the answer.
            self._read(min(int(length), LARGEST_SKIPPED))
            return b"", Answer(413, None, closing)
        return self._read(int(length)), None

    def _chunked(self) -> bytes:
        """A body in chunks (RFC 9112 section 7.1); ValueError for what is none, or too large."""
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
        """Repeated ones joined (RFC 9110 section 5.3), so that the rules can refuse them."""
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            before = headers.get(name.lower())
            headers[name.lower()] = value if before is None else f"{before}, {value}"
        return headers

    def log_message(self, *_: object) -> None:
        """Nothing: who runs the server says what there is to say."""


for _method in METHODS:  # the names that http.server looks for
    setattr(Connection, f"do_{_method}", Connection._take_turn)
