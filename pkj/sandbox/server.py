"""A running pretend org: the rules of `org`, the sockets, and what it was told to do wrong."""

import ssl
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from pkj.sandbox.certificate import Certificate, make_certificate
from pkj.sandbox.connections import Server
from pkj.sandbox.exchange import Answer, Request
from pkj.sandbox.faults import Faults
from pkj.sandbox.org import Org
from pkj.sandbox.wire import Seen, Turn

OnAnswer = Callable[[Seen], None]


class Sandbox:
    """A mock org for a `with` block. Port 0 takes a free one; a taken one raises OSError.

    `url` is its address and `ca_file` the path of the PEM file to trust (gone afterwards),
    `seen` every request in order of arrival, `connections` the number of completed TLS
    handshakes, `faults` the misbehaviours it was told. With another `certificate`, clients
    can be shown one that they must refuse. `on_answer` is called after each request.
    """

    def __init__(
        self,
        org: Org,
        port: int = 0,
        *,
        certificate: Certificate | None = None,
        on_answer: OnAnswer | None = None,
    ) -> None:
        self.org = org
        self.faults = Faults()
        self.seen: list[Seen] = []
        self._port = port
        self._certificate = certificate or make_certificate()
        self._on_answer = on_answer
        self._over = threading.Event()

    def __enter__(self) -> "Sandbox":
        self._server = Server(self._port, self._certificate.context, self._take_turn)
        self.url = self.org.url = f"https://127.0.0.1:{self._server.server_address[1]}"
        self._folder = tempfile.TemporaryDirectory(prefix="pkj-")
        self.ca_file = str(Path(self._folder.name, "ca.pem"))
        Path(self.ca_file).write_bytes(self._certificate.ca_pem)
        # How often the loop looks whether it was told to stop, in seconds.
        loop = {"poll_interval": 0.05}
        threading.Thread(target=self._server.serve_forever, kwargs=loop, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._server.stop()
        self._folder.cleanup()

    @property
    def connections(self) -> int:
        return self._server.handshakes

    def _take_turn(
        self, connection: ssl.SSLSocket, number: int, request: Request, refusal: Answer | None
    ) -> bool:
        seen = Seen(request, None, number)
        self.seen.append(seen)
        turn = Turn(seen, self.org, connection, self.faults.hanging, self._over)
        try:
            if refusal:
                turn.send(refusal)
                turn.close()
            else:
                self.faults.action(request)(turn)
        finally:
            if self._on_answer:
                self._on_answer(seen)
        return turn.keep
