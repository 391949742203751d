"""`omm app`: a page on this machine. A small page of our own over Starlette and Uvicorn, not Gradio, since that brings
some fifty packages and an older Pillow, serves files by their paths and has telemetry to switch off, where a dozen
routes that look everything up in one session's memory leave nothing to guard."""

import ipaddress
import secrets
import signal
import socket
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from onlymymodel.errors import UserError
from onlymymodel.runtime import configure, pick_device

if TYPE_CHECKING:
    import uvicorn

LOOPBACK = "127.0.0.1"
DOOR = """<!DOCTYPE html>
<meta charset="utf-8"><meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={url}">
<title>omm app</title>
<a href="{url}">the page</a>
"""
PATIENCE = 2  # seconds that open requests get when the server stops


def serve(
    host: str = LOOPBACK, port: int = 0, *, browser: bool = True, device: str = "auto", allow_python: bool = False
) -> int:
    """Show the page until Ctrl-C; every photo and file of it is removed then. Returns 0.

    Args:
        host: where to listen; anything but loopback lets others in, and says so.
        port: 0 for any that is free.
        browser: open the page in the user's browser.

    Raises:
        UserError: the extra `app` is not installed, the place is taken, or strangers would be let run code.
    """
    local = is_loopback(host)
    if allow_python and not local:
        raise UserError(f"--allow-python would let whoever reaches {host} run code here: use it without --host")
    try:
        # whatever asks for the end, Ctrl-C first, must run through the cleaning up
        with (
            _answering("SIGINT", "SIGTERM", by=signal.default_int_handler),
            _listening(host, port) as place,
            running(place, device=device, allow_python=allow_python, local=local) as (server, url),
            # not Uvicorn's own to handle, and an exception may get lost in its loop
            _answering("SIGHUP", by=server.handle_exit),
        ):
            _announce(host, url, local)
            with _in_browser(url) if browser else nullcontext():
                server.run(sockets=[place])
    except KeyboardInterrupt:
        pass
    print("\nomm app: stopped, its photos are removed", file=sys.stderr)
    return 0


@contextmanager
def running(
    place: socket.socket, *, device: str = "auto", allow_python: bool = False, local: bool = True
) -> Iterator[tuple["uvicorn.Server", str]]:
    """A server that is ready to run on a listening socket, and the page's address; its folder goes at the end.

    Raises:
        UserError: the extra `app` is not installed, or there is no such device.
    """
    try:
        import uvicorn

        from onlymymodel.app.routes import build
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        raise UserError("the page needs Starlette and Uvicorn: pip install 'onlymymodel[app]'") from error
    from onlymymodel.app.choice import Policy
    from onlymymodel.app.session import Sessions

    policy = Policy(pick_device(device), allow_python, local)
    secret = secrets.token_urlsafe(24)
    with tempfile.TemporaryDirectory(prefix="omm-app-", ignore_cleanup_errors=True) as folder:
        sessions = Sessions(Path(folder))
        # the switches belong to a thread, and the worker's is another one
        executor = ThreadPoolExecutor(1, "omm-app", initializer=configure)
        config = uvicorn.Config(
            build(secret, sessions, policy, executor),
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=64,
            timeout_graceful_shutdown=PATIENCE,
        )
        try:
            yield uvicorn.Server(config), f"http://{_authority(place)}/{secret}/"
        finally:
            sessions.close_all()
            executor.shutdown(cancel_futures=True)


@contextmanager
def _in_browser(url: str) -> Iterator[None]:
    """Open the page in the user's browser, by a file for this user alone that leads there: the browser's command line,
    which every user of the machine can list, must not hold the page's secret."""
    with tempfile.TemporaryDirectory(prefix="omm-app-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "open.html"
        path.touch(mode=0o600)
        path.write_text(DOOR.format(url=url), encoding="utf-8")
        # a browser that runs in the terminal would hold up the page
        threading.Thread(target=webbrowser.open, args=(path.as_uri(),), daemon=True).start()
        yield


def is_loopback(host: str) -> bool:
    """Whether a host is this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    if not 0 <= port <= 65535:  # the resolver would take the rest of it for another port
        raise UserError(f"--port lies between 0 and 65535, not {port}")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        place = socket.create_server(address[:2], family=family)
    except (OSError, OverflowError) as error:
        raise UserError(f"cannot listen on {host}, port {port}: {error}; give another --host or --port") from error
    with place:
        yield place


@contextmanager
def _answering(*names: str, by: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle signals, those that this system has, for a while."""
    signals = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = [signal.signal(one, by) for one in signals]
    try:
        yield
    finally:
        for one, handler in zip(signals, before, strict=True):
            signal.signal(one, handler)


def _announce(host: str, url: str, local: bool) -> None:
    print(f"omm app: {url}\nCtrl-C stops it and removes its photos", flush=True)
    if not local:
        print(
            f"omm: whoever reaches {host} and has this address can use the page, and the connection is not "
            "encrypted: who listens in sees the photos",
            file=sys.stderr,
        )


def _authority(place: socket.socket) -> str:
    host, port = place.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
