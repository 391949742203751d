"""The server of `omm app`, a page on this machine.

It is a small page on Starlette and Uvicorn rather than on Gradio, which needs some fifty packages and an older Pillow,
serves files by their paths, and has telemetry that would have to be disabled. Here a dozen routes look everything up in
one session's memory, so that there is no path to protect.
"""

import ipaddress
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import TYPE_CHECKING

from onlymymodel.app.temporary import sweep, temporary_folder
from onlymymodel.errors import UserError
from onlymymodel.protect.memory_limit import MemorySize
from onlymymodel.runtime import configure, pick_device

if TYPE_CHECKING:
    import uvicorn

LOOPBACK = "127.0.0.1"
REDIRECT_PAGE = """<!DOCTYPE html>
<meta charset="utf-8"><meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={url}">
<title>omm app</title>
<a href="{url}">the page</a>
"""
SHUTDOWN_TIMEOUT = 2  # seconds that open requests get when the server stops


def print_address(url: str) -> None:
    """Print the address of the page."""
    print(f"omm app: {url}\nCtrl-C stops it and removes its photos", flush=True)


def serve(
    host: str = LOOPBACK,
    port: int = 0,
    *,
    browser: bool = True,
    device: str = "auto",
    allow_python: bool = False,
    memory: MemorySize | None = None,
    announce: Callable[[str], None] = print_address,
) -> int:
    """Serve the page until Ctrl-C, then remove all its photos and files.

    Args:
        host: address to listen on; any but loopback gives other machines access, and prints a warning.
        port: port to listen on; 0 for any free port.
        browser: open the page in the user's browser.
        device: where models run.
        allow_python: whether `python:` models may run code.
        memory: what the process may take in all; None for the default.
        announce: is called with the address of the page once it can be opened.

    Returns:
        Exit code 0.

    Raises:
        UserError: the extra `app` is not installed, the address cannot be listened on, or `allow_python` would let
            other machines run code here.
    """
    local = is_loopback(host)
    if allow_python and not local:
        raise UserError(f"--allow-python would let anybody who reaches {host} run code here: use it without --host")
    try:
        # every way to end the server, Ctrl-C first, has to run the cleanup
        if swept := sweep():
            print(f"omm app: removed what {swept} servers that were killed had left behind", file=sys.stderr)
        with (
            _signals_handled("SIGINT", "SIGTERM", by=signal.default_int_handler),
            _listening(host, port) as listener,
            running(listener, device=device, allow_python=allow_python, local=local, host=host, memory=memory) as (
                server,
                url,
            ),
            # Uvicorn does not handle this one, and an exception may get lost in its loop
            _signals_handled("SIGHUP", by=server.handle_exit),
        ):
            announce(url)
            _warn(host, local)
            with _in_browser(url) if browser else nullcontext():
                server.run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    print("\nomm app: stopped, its photos are removed", file=sys.stderr)
    return 0


@contextmanager
def running(
    listener: socket.socket,
    *,
    device: str = "auto",
    allow_python: bool = False,
    local: bool = True,
    host: str = "localhost",
    memory: MemorySize | None = None,
) -> Iterator[tuple["uvicorn.Server", str]]:
    """Yield a server that is ready to run on a listening socket, and the page's address; remove its folder at the end.

    Args:
        listener: the listening socket.
        device: where models run.
        allow_python: whether `python:` models may run code.
        local: whether the page can be opened from this machine only.
        host: name under which the page may be opened, beside this machine's own names and addresses.
        memory: see `serve`.

    Raises:
        UserError: the extra `app` is not installed, or there is no such device.
    """
    try:
        import uvicorn

        from onlymymodel.app.access import Hosts, Keys
        from onlymymodel.app.connections import Strangers, limited_protocol
        from onlymymodel.app.routes import build
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        raise UserError("the page needs Starlette and Uvicorn: pip install 'onlymymodel[app]'") from error
    from onlymymodel.app.form import Policy
    from onlymymodel.app.session import Sessions

    policy = Policy(pick_device(device), allow_python, local, memory)
    keys, strangers = Keys(), Strangers()
    machine = socket.gethostname().lower()
    hosts = Hosts(local, frozenset({"localhost", host.lower(), *([] if local else [machine, f"{machine}.local"])}))
    with temporary_folder() as folder:
        sessions = Sessions(folder)
        # torch's settings belong to a thread, and the runs have a thread of their own
        executor = ThreadPoolExecutor(1, "omm-app", initializer=configure)
        config = uvicorn.Config(
            build(keys, hosts, strangers.trust, sessions, policy, executor),
            http=limited_protocol(strangers),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # they would change whose connection a request belongs to
            timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
        )
        try:
            yield uvicorn.Server(config), f"http://{_authority(listener)}/{keys.secret}/"
        finally:
            sessions.close_all()
            executor.shutdown(cancel_futures=True)


@contextmanager
def _in_browser(url: str) -> Iterator[None]:
    """Open the page in the user's browser.

    The browser opens a file that only this user can read and that redirects to the page: its command line, which every
    user of the machine can list, must not contain the page's secret.
    """
    with temporary_folder() as folder:
        path = folder / "open.html"
        path.touch(mode=0o600)
        path.write_text(REDIRECT_PAGE.format(url=url), encoding="utf-8")
        # a browser that runs in the terminal would block the page
        threading.Thread(target=webbrowser.open, args=(path.as_uri(),), daemon=True).start()
        yield


def is_loopback(host: str) -> bool:
    """Return whether a host can be reached only from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    if not 0 <= port <= 65535:  # the resolver would reduce it to another port
        raise UserError(f"--port must be from 0 to 65535, not {port}")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family)
    except (OSError, OverflowError) as error:
        raise UserError(f"cannot listen on {host}, port {port}: {error}; give another --host or --port") from error
    with listener:
        yield listener


@contextmanager
def _signals_handled(*names: str, by: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle the named signals, as far as this system has them, while the context is open."""
    signals = [getattr(signal, name) for name in names if hasattr(signal, name)]
    earlier = [signal.signal(number, by) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, earlier, strict=True):
            signal.signal(number, handler)


def _warn(host: str, local: bool) -> None:
    if not local:
        print(
            f"omm: anyone who can reach {host} and has this address can use the page, and the connection is not "
            "encrypted: anyone on the network path can see the photos",
            file=sys.stderr,
        )


def _authority(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
