"""Connections without the secret: they cannot keep the owner out, however many they are and whatever they send."""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

import pytest
from app_client import PHOTO, Client, page
from patience import PATIENCE

from onlymymodel.app import connections, routes
from onlymymodel.app.connections import MOST, Strangers

Place = tuple[str, int | None]
OWNER_SECONDS = 3.0  # for a request with the secret, on a busy machine


@pytest.fixture
def client() -> Iterator[Client]:
    with page() as url:
        yield Client(url)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Host and port of a page that soon closes the connections of strangers."""
    monkeypatch.setattr(connections.Strangers.__init__, "__defaults__", (0.3, MOST))
    with page() as url:
        parts = urlsplit(url)
        yield parts.hostname or "", parts.port


def connect(place: Place, sent: bytes = b"") -> socket.socket:
    connection = socket.create_connection(place, timeout=PATIENCE)
    connection.sendall(sent)
    return connection


def is_closed(connection: socket.socket) -> bool:
    """Return whether the server closes the connection within the test's patience."""
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    except TimeoutError:
        return False
    return True


def test_the_owner_gets_in_past_any_number_of_half_open_connections(client: Client) -> None:
    with ExitStack() as stack:
        for index in range(3 * MOST):
            stack.enter_context(connect(client.place, b"" if index % 2 else b"GET / HTTP/1.1\r\nHost: x\r\n"))
        session = client.session(PHOTO)
        assert len(client.state(session)["photos"]) == 1


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ",
        b"POST /sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nx",
    ],
)
def test_a_connection_without_the_secret_is_closed(impatient: Place, sent: bytes) -> None:
    with connect(impatient, sent) as connection:
        assert is_closed(connection)


def test_a_request_that_comes_byte_by_byte_is_cut_off(impatient: Place) -> None:
    with connect(impatient) as connection:
        sent, end = 0, time.monotonic() + PATIENCE
        with suppress(ConnectionError):
            while time.monotonic() < end:
                sent += connection.send(b"G")
                time.sleep(0.02)
        assert time.monotonic() < end
        assert sent


@pytest.mark.slow
def test_an_upload_takes_longer_than_a_stranger_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections.Strangers.__init__, "__defaults__", (OWNER_SECONDS, MOST))
    with page() as url:
        _upload_slowly(Client(url))


def _upload_slowly(client: Client) -> None:
    session = client.session()
    head = (
        f"POST {client.root}{session}/photos?name=a.png HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {client.cookie}\r\n"
        f"Content-Length: {len(PHOTO)}\r\n\r\n"
    )
    with connect(client.place, head.encode() + PHOTO[:10]) as connection:
        time.sleep(OWNER_SECONDS + 1)
        connection.sendall(PHOTO[10:])
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")


def test_an_upload_that_stops_is_given_up(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "CHUNK_SECONDS", 0.3)
    session = client.session()
    head = (
        f"POST {client.root}{session}/photos?name=a.png HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {client.cookie}\r\n"
        "Content-Length: 1000\r\n\r\nabc"
    )
    with connect(client.place, head.encode()) as connection:
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 408")
    assert client.state(session)["photos"] == []


def test_beyond_the_most_the_oldest_stranger_goes_and_no_one_trusted() -> None:
    class Line(asyncio.Transport):
        aborted = False

        def abort(self) -> None:
            self.aborted = True

    async def scenario() -> None:
        strangers, lines = Strangers(seconds=60, most=2), [Line() for _ in range(4)]
        for port, line in enumerate(lines[:2]):
            strangers.add(("127.0.0.1", port), line)
        strangers.trust({"client": ["127.0.0.1", 0]})
        for port, line in enumerate(lines[2:], start=2):
            strangers.add(("127.0.0.1", port), line)
        assert [line.aborted for line in lines] == [False, True, False, False]
        for port in range(4):
            strangers.remove(("127.0.0.1", port))

    asyncio.run(scenario())
