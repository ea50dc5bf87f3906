"""Each misbehaviour as a client meets it: what arrives, and whether the org did the work."""

import contextlib
import http.client
import json
import socket
import ssl
import time
from email.utils import parsedate_to_datetime

import pytest
import requests
from faults import (
    Fault,
    Sandbox,
    chunked_forever,
    close_after,
    close_before,
    delay,
    drip,
    echo,
    empty,
    hang,
    html,
    huge,
    patch,
    patched_date,
    rate_limit,
    redirect,
    reset_after,
    reset_before,
    status,
    truncate,
)

from pkj.sandbox.exchange import Response
from pkj.sandbox.org import Org

PATH = "/oauth2/v1/clients"
LONG = 60.0


class CountingOrg(Org):
    """The real rules, and a list of the requests that reached them."""

    def __init__(self, url, **settings):
        super().__init__(url, **settings)
        self.worked = []

    def answer(self, request):
        self.worked.append(request)
        return super().answer(request)


@pytest.fixture
def sandbox():
    with Sandbox(CountingOrg("https://127.0.0.1")) as sandbox:
        yield sandbox


def get(sandbox, path=PATH, **options):
    with requests.Session() as session:
        session.trust_env = False
        headers = {"Authorization": f"SSWS {sandbox.org.api_key}"}
        options = {"timeout": LONG, "allow_redirects": False, **options}
        return session.get(sandbox.url + path, headers=headers, verify=sandbox.ca_file, **options)


def connect(sandbox, api_key=None):
    """A connection on which the GET was sent. What comes back is a TLS record for each write."""
    context = ssl.create_default_context(cafile=sandbox.ca_file)
    host = sandbox.url.removeprefix("https://")
    connection = http.client.HTTPSConnection(host, context=context, timeout=LONG)
    credentials = f"SSWS {api_key or sandbox.org.api_key}"
    connection.request("GET", PATH, headers={"Authorization": credentials})
    return connection


def below_tls(connection):
    """How TCP ended. Some versions of OpenSSL tell a reset as an end."""
    try:
        while socket.socket.recv(connection.sock, 65536):
            pass
    except ConnectionResetError:
        return "reset"
    return "end"


def root(error):
    """The error at the bottom: what the socket itself said."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__
    return error


def test_without_faults_the_answer_is_the_org_s_own(sandbox):
    answer = get(sandbox)
    assert (answer.status_code, answer.json()) == (200, [])
    assert len(sandbox.org.worked) == 1


@pytest.mark.parametrize(
    ("action", "error", "worked"),
    [
        pytest.param(reset_before(), ConnectionResetError, 0, id="reset before"),
        pytest.param(reset_after(), ConnectionResetError, 1, id="reset after"),
        pytest.param(close_before(), http.client.RemoteDisconnected, 0, id="close before"),
        pytest.param(close_after(), http.client.RemoteDisconnected, 1, id="close after"),
        pytest.param(hang(after_work=False), TimeoutError, 0, id="hang before"),
        pytest.param(hang(after_work=True), TimeoutError, 1, id="hang after"),
        pytest.param(delay(LONG), TimeoutError, 1, id="delay"),
    ],
)
def test_an_answer_is_lost_and_the_work_done_or_not(sandbox, action, error, worked):
    sandbox.faults.add(Fault("", action))
    with pytest.raises(requests.RequestException) as caught:
        get(sandbox, timeout=0.3 if error is TimeoutError else LONG)
    assert isinstance(root(caught.value), error)
    assert len(sandbox.org.worked) == worked
    assert [seen.answer_status for seen in sandbox.seen] == [None]
    assert get(sandbox).status_code == 200


@pytest.mark.parametrize(
    ("action", "end"),
    [
        pytest.param(reset_before(), "reset", id="reset before"),
        pytest.param(reset_after(), "reset", id="reset after"),
        pytest.param(close_before(), "end", id="close before"),
        pytest.param(close_after(), "end", id="close after"),
        pytest.param(truncate(), "end", id="truncate"),
    ],
)
def test_a_reset_is_a_tcp_reset_and_a_close_is_none(sandbox, action, end):
    sandbox.faults.add(Fault("", action))
    with contextlib.closing(connect(sandbox)) as connection:
        assert below_tls(connection) == end


def test_a_hang_says_that_it_has_begun(sandbox):
    sandbox.faults.add(Fault("", hang(after_work=True)))
    assert not sandbox.faults.hanging.is_set()
    connection = connect(sandbox)
    assert sandbox.faults.hanging.wait(LONG)
    assert len(sandbox.org.worked) == 1
    connection.close()


def test_a_delayed_answer_comes_after_the_delay(sandbox):
    sandbox.faults.add(Fault("", delay(0.2)))
    before = time.monotonic()
    assert get(sandbox).json() == []
    assert time.monotonic() - before >= 0.2


@pytest.mark.parametrize("part", ["headers", "body", "all"])
def test_a_dripping_part_comes_byte_by_byte_and_whole(sandbox, part):
    sandbox.faults.add(Fault("", drip(0, part)))
    with contextlib.closing(connect(sandbox, api_key="wrong")) as connection:
        written = []
        while not b"".join(written).endswith(b"}"):
            written.append(connection.sock.recv(65536))
    head, _, body = b"".join(written).partition(b"\r\n\r\n")
    assert json.loads(body)["errorCode"] == "E0000011"
    lengths = {"headers": len(head) + 4, "body": len(body)}
    together = sum(lengths.values()) - lengths.get(part, sum(lengths.values()))
    assert [len(piece) for piece in written if len(piece) > 1] == [together] * (together > 0)


def test_a_drip_takes_its_time_for_each_byte(sandbox):
    sandbox.faults.add(Fault("", drip(0.1)))
    before = time.monotonic()
    assert get(sandbox).text == "[]"
    assert time.monotonic() - before >= 0.2


def test_an_endless_chunked_body_goes_on(sandbox):
    sandbox.faults.add(Fault("", chunked_forever(0.001)))
    with contextlib.closing(connect(sandbox)) as connection:
        response = connection.getresponse()
        assert response.headers["transfer-encoding"] == "chunked"
        assert response.read(200) == b" " * 200


def test_a_truncated_answer_promises_the_whole_and_holds_half(sandbox):
    sandbox.faults.add(Fault("", truncate()))
    with contextlib.closing(connect(sandbox)) as connection:
        response = connection.getresponse()
        with pytest.raises(http.client.IncompleteRead) as caught:
            response.read()
    assert response.headers["content-length"] == "2"
    assert (caught.value.partial, caught.value.expected) == (b"[", 1)


@pytest.mark.parametrize(
    ("action", "code", "headers", "text"),
    [
        pytest.param(status(503), 503, {"content-length": "0"}, "", id="bare status"),
        pytest.param(
            status(500, {"no": 1}, {"x-a": "b"}),
            500,
            {"x-a": "b", "content-type": "application/json"},
            '{"no": 1}',
            id="status with JSON",
        ),
        pytest.param(
            status(200, b"[1,"), 200, {"content-length": "3"}, "[1,", id="status with bytes"
        ),
        pytest.param(
            html(502), 502, {"content-type": "text/html; charset=utf-8"}, "<!DOCTYPE", id="html"
        ),
        pytest.param(
            redirect("http://127.0.0.1:1/"),
            302,
            {"location": "http://127.0.0.1:1/"},
            "",
            id="redirect",
        ),
        pytest.param(empty(), 200, {"content-length": "0"}, "", id="empty"),
    ],
)
def test_another_answer_comes_in_place_of_the_work(sandbox, action, code, headers, text):
    sandbox.faults.add(Fault("", action))
    answer = get(sandbox)
    assert answer.status_code == code
    assert headers.items() <= {k.lower(): v for k, v in answer.headers.items()}.items()
    assert answer.text.startswith(text)
    assert bool(answer.text) == bool(text)
    assert sandbox.org.worked == []
    assert [seen.answer_status for seen in sandbox.seen] == [code]


@pytest.mark.parametrize("size", [16, 65536, 1_000_000])
def test_a_huge_body_is_json_of_exactly_that_size(sandbox, size):
    sandbox.faults.add(Fault("", huge(size)))
    answer = get(sandbox)
    assert len(answer.content) == size
    assert list(answer.json()) == ["padding"]


def test_a_client_that_stops_reading_a_huge_body_ends_it(sandbox, capfd):
    sandbox.faults.add(Fault("", huge(1 << 40)))
    with contextlib.closing(connect(sandbox)) as connection:
        assert connection.getresponse().read(1 << 20).startswith(b'{"padding":"xxx')
    assert get(sandbox).status_code == 200
    assert capfd.readouterr() == ("", "")


def test_a_patched_answer_is_the_org_s_own_changed(sandbox):
    def without_body(answer):
        assert answer.body == []
        return Response(answer.status, {"not": "a list"})

    sandbox.faults.add(Fault("", patch(without_body)))
    assert get(sandbox).json() == {"not": "a list"}
    assert len(sandbox.org.worked) == 1


@pytest.mark.parametrize("skew", [-19_800, 0, 3600])
def test_the_date_of_a_good_answer_is_off_by_the_skew(skew):
    with Sandbox(CountingOrg("https://127.0.0.1", clock=lambda: 1_700_000_000)) as sandbox:
        sandbox.faults.add(Fault("", patched_date(skew)))
        answer = get(sandbox)
    assert answer.json() == []
    assert parsedate_to_datetime(answer.headers["date"]).timestamp() == 1_700_000_000 + skew


def test_a_rate_limit_tells_its_end_by_its_own_clock():
    with Sandbox(CountingOrg("https://127.0.0.1", clock=lambda: 1_700_000_000)) as sandbox:
        sandbox.faults.add(Fault("", rate_limit(50, 0, 8, skew=-3600)))
        answer = get(sandbox)
        worked = sandbox.org.worked
    assert (answer.status_code, answer.json()["errorCode"], worked) == (429, "E0000047", [])
    assert answer.json()["errorCauses"] == []
    assert parsedate_to_datetime(answer.headers["date"]).timestamp() == 1_700_000_000 - 3600
    assert answer.headers["x-rate-limit-limit"] == "50"
    assert answer.headers["x-rate-limit-remaining"] == "0"
    assert answer.headers["x-rate-limit-reset"] == str(1_700_000_000 - 3600 + 8)


def test_a_rate_limit_without_headers_has_only_a_date(sandbox):
    sandbox.faults.add(Fault("", rate_limit(50, 0, 8, with_headers=False)))
    answer = get(sandbox)
    assert answer.status_code == 429
    assert "date" in answer.headers
    assert not [name for name in answer.headers if name.lower().startswith("x-rate-limit")]


@pytest.mark.parametrize(
    ("dialect", "fields"),
    [
        pytest.param("oauth", ["error_description"], id="oauth"),
        pytest.param("management", ["errorSummary"], id="management"),
    ],
)
def test_an_echo_repeats_headers_and_body(sandbox, dialect, fields):
    sandbox.faults.add(Fault("", echo(400, dialect)))
    answer = get(sandbox, data="client_assertion=eyJ.secret")
    told = answer.json()[fields[0]]
    assert answer.status_code == 400
    assert f"authorization: SSWS {sandbox.org.api_key}" in told
    assert "client_assertion=eyJ.secret" in told


def statuses(sandbox, paths):
    return [get(sandbox, path).status_code for path in paths]


def test_a_fault_passes_the_first_and_meets_the_next_so_many(sandbox):
    sandbox.faults.add(Fault(f"GET {PATH}", status(503), skip=1, times=2))
    assert statuses(sandbox, [PATH] * 5) == [200, 503, 503, 200, 200]


def test_a_fault_without_times_goes_on_until_it_is_cleared(sandbox):
    sandbox.faults.add(Fault("", status(503), times=None))
    assert statuses(sandbox, [PATH] * 3) == [503, 503, 503]
    sandbox.faults.clear()
    assert statuses(sandbox, [PATH]) == [200]


@pytest.mark.parametrize(
    ("match", "code"),
    [
        pytest.param("", 503, id="everything"),
        pytest.param("GET /oauth2", 503, id="the beginning"),
        pytest.param("GET /oauth2/v1/clients", 503, id="the whole path"),
        pytest.param("POST /oauth2/v1/clients", 200, id="another method"),
        pytest.param("GET /oauth2/v1/clients/", 200, id="a longer path"),
        pytest.param("/oauth2", 200, id="no method"),
    ],
)
def test_a_fault_meets_only_what_it_matches(sandbox, match, code):
    sandbox.faults.add(Fault(match, status(503)))
    assert statuses(sandbox, [f"{PATH}?limit=200"]) == [code]


def test_the_first_fault_wins_and_the_next_counts_from_there(sandbox):
    sandbox.faults.add(Fault("", status(501)))
    sandbox.faults.add(Fault("", status(502), skip=1))
    sandbox.faults.add(Fault("", status(503)))
    assert statuses(sandbox, [PATH] * 5) == [501, 503, 502, 200, 200]
