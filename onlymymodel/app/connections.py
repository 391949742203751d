"""Connections of strangers: few and short, so that nobody without the secret can keep the owner out."""

import asyncio

from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol

SECONDS = 10.0  # from the connection to a complete request with the secret
MOST = 128

Client = tuple[str, int]


class Strangers:
    """The open connections that have not sent a request with the secret yet.

    Each is closed after some seconds, whatever it has sent by then, and the oldest of too many at once.

    Args:
        seconds: that a connection has for its first request.
        most: number of connections at once.
    """

    def __init__(self, seconds: float = SECONDS, most: int = MOST) -> None:
        self.seconds, self.most = seconds, most
        self._open: dict[Client, tuple[asyncio.Transport, asyncio.TimerHandle]] = {}  # the oldest first

    def add(self, client: Client, transport: asyncio.Transport) -> None:
        """Note a new connection."""
        if len(self._open) >= self.most:
            oldest = next(iter(self._open))
            self._open[oldest][0].abort()
            self.remove(oldest)
        timer = asyncio.get_running_loop().call_later(self.seconds, transport.abort)
        self._open[client] = transport, timer

    def remove(self, client: Client) -> None:
        """Forget a connection, since it was closed or has shown the secret."""
        if client in self._open:
            self._open.pop(client)[1].cancel()

    def trust(self, scope: Scope) -> None:
        """Leave the connection of a request alone."""
        self.remove(tuple(scope["client"]))


def limited_protocol(strangers: Strangers) -> type[H11Protocol]:
    """Return Uvicorn's HTTP protocol with a limit on strangers: its own limits count the owner's connections too."""

    class LimitedProtocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if self.client is not None:
                strangers.add(self.client, transport)

        def connection_lost(self, exc: Exception | None) -> None:
            if self.client is not None:
                strangers.remove(self.client)
            super().connection_lost(exc)

    return LimitedProtocol
