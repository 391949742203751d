"""Access control of the page: secret address, session cookie, and checks of Host and Origin."""

import ipaddress
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

COOKIE = "omm"
READING = ("GET", "HEAD")


def _secret() -> str:
    return secrets.token_urlsafe(24)


@dataclass(frozen=True)
class Keys:
    """The secrets of one process, and the page's path.

    Attributes:
        secret: path that is printed; its first visit sets the cookie and leads to `home`, so that no later address,
            history entry or screenshot has a secret.
        token: value of the cookie.
        home: first part of the page's path. It is random too, since browsers send a cookie to every port of a host: no
            other server of this machine knows the path that the cookie is limited to.
    """

    secret: str = field(default_factory=_secret)
    token: str = field(default_factory=_secret)
    home: str = field(default_factory=lambda: secrets.token_urlsafe(9))


@dataclass(frozen=True)
class Hosts:
    """The names under which a browser may ask for the page.

    Another name that leads here belongs to another site, which wants to be taken for this one (DNS rebinding).

    Attributes:
        local: whether the page is for this machine only: then no address but loopback's is its own.
        names: names beside IP addresses, in lower case.
    """

    local: bool = True
    names: frozenset[str] = frozenset({"localhost"})

    def allow(self, header: str) -> bool:
        """Return whether a Host header names this server; its port is not compared, as a tunnel may change it."""
        try:
            name = urlsplit(f"//{header}").hostname or ""
        except ValueError:
            return False
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return name in self.names
        return address.is_loopback or not self.local


def guarded(app: ASGIApp, keys: Keys, hosts: Hosts, trust: Callable[[Scope], None]) -> ASGIApp:
    """Return an application that passes on only what the owner's own tabs ask; all else is refused unread.

    Args:
        app: serves the paths below `keys.home`.
        keys: of this process.
        hosts: see `Hosts`.
        trust: called with the scope of each request that has a secret.
    """

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        answer = _refusal_or_redirect(Request(scope), keys, hosts)
        if answer is None or answer.status_code == 303:
            trust(scope)
        await (app if answer is None else answer)(scope, receive, send)

    return guard


def _refusal_or_redirect(request: Request, keys: Keys, hosts: Hosts) -> Response | None:
    """Return the answer to a request that does not reach the page, None for one that does."""
    host = request.headers.get("host", "")
    if not hosts.allow(host):
        return JSONResponse({"error": "this server has another name"}, 421)
    path = str(request.scope["path"])
    if _equal(path.strip("/"), keys.secret):
        answer = RedirectResponse(f"/{keys.home}/", 303)
        # Lax, since a file on the disk leads here: the browser would not send a strict cookie after it
        answer.set_cookie(COOKIE, keys.token, path=f"/{keys.home}/", httponly=True, samesite="lax")
        return answer
    if not path.startswith(f"/{keys.home}/") or not _equal(request.cookies.get(COOKIE, ""), keys.token):
        return JSONResponse({"error": "not found: open the address that omm app printed"}, 404)
    if _from_another_site(request, host):
        return JSONResponse({"error": "the request comes from another site"}, 403)
    return None


def _from_another_site(request: Request, host: str) -> bool:
    """Return whether a browser says that another site made the request; programs that are no browser say nothing."""
    site = request.headers.get("sec-fetch-site", "none")
    opened = request.method in READING and request.headers.get("sec-fetch-mode") == "navigate"
    if site not in ("same-origin", "none") and not opened:
        return True
    origin = request.headers.get("origin")
    # a page without a referrer may send "null", and then says where it is from
    return origin not in (None, f"http://{host}") and not (origin == "null" and site == "same-origin")


def _equal(given: str, wanted: str) -> bool:
    """Compare in a time that does not depend on where they differ."""
    return secrets.compare_digest(given.encode("utf-8", "replace"), wanted.encode())
