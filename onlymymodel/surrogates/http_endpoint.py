"""Requests to one model on a server, with a time limit, a size limit and retries."""

import http.client
import ipaddress
import json
import math
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from urllib.parse import unquote_plus, urlsplit

from onlymymodel.errors import UserError
from onlymymodel.surrogates.black_box import BlackBoxError
from onlymymodel.surrogates.uri import LEFT_OUT, ModelUri
from onlymymodel.version import __version__

TOKEN_VARIABLE = "OMM_HTTP_TOKEN"
SHORTEST_SECRET = 4  # characters of an option's value that is kept out of messages
MAX_ANSWER = 16 * 2**20  # bytes
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds
INFERENCE_PATH = re.compile(r"(/[^?#]*)?/v2/models/[^/?#]+(/versions/[^/?#]+)?/?")
_TEXT = re.compile(r"[!-~]+")  # printable ASCII without the space


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Retry(Exception):
    """A failure that may be temporary.

    Args:
        reason: what failed.
        wait: seconds that the server asks to wait before another try.
    """

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class Endpoint:
    """URL of a model on a server.

    Attributes:
        address: the URL without its query, host in lower case.
        query: the URI's options that are passed on to the server.

    Args:
        uri: with the scheme http or https.
        path: what the path of a URL of this protocol looks like.
        form: the same for people, after the scheme.
        timeout: seconds for connecting, and again for one request with its complete answer.
        retries: number of further tries after a time-out, a connection error, or a status of 429 or at least 500.
        sleep: waits for a number of seconds between two tries: 0.5, 1, 2, ..., longer if Retry-After asks for it, at
            most 30.

    Raises:
        UserError: not the URL of a model, or a token that cannot be sent safely.
    """

    def __init__(
        self,
        uri: ModelUri,
        timeout: float,
        retries: int,
        sleep: Callable[[float], None] = time.sleep,
        *,
        path: re.Pattern[str] = INFERENCE_PATH,
        form: str = "//host:port/v2/models/NAME",
    ) -> None:
        self.public, self.timeout, self.retries, self.sleep = uri.public, timeout, retries, sleep
        self.query = uri.server_query
        try:
            parts = urlsplit(f"{uri.scheme}:{uri.rest}")
            self.host, self.port = parts.hostname or "", parts.port
            self.host.encode("idna")
        except ValueError as error:
            raise UserError(f"model {uri.public!r}: {error}") from error
        if not self.host or not path.fullmatch(parts.path) or not _TEXT.fullmatch(uri.rest + self.query):
            raise UserError(f"model {uri.public!r}: write it as {uri.scheme}:{form}")
        if "#" in uri.rest + self.query:
            raise UserError(f"model {uri.public!r}: a fragment (#) is not sent to servers; remove it")
        self.tls = ssl.create_default_context() if uri.scheme == "https" else None
        self.path = parts.path.rstrip("/")
        shown = f"[{self.host}]" if ":" in self.host else self.host
        self.address = f"{uri.scheme}://{shown}" + (f":{self.port}" if self.port else "") + self.path
        self._headers = {
            "Accept": "application/json",
            "Connection": "close",
            "User-Agent": f"onlymymodel/{__version__}",
        }
        self._token = os.environ.get(TOKEN_VARIABLE, "").strip()
        if self._token:
            if not _TEXT.fullmatch(self._token):
                raise UserError(f"{TOKEN_VARIABLE} has characters that are not allowed in a token")
            if self.tls is None and not _is_loopback(self.host):
                raise UserError(
                    f"model {uri.public!r}: {TOKEN_VARIABLE} is set, and http would send it unencrypted; use https"
                )
            self._headers["Authorization"] = f"Bearer {self._token}"
        values = [part.partition("=")[2] or part for part in self.query.split("&")]
        secrets = {self._token, *values, *map(unquote_plus, values)}
        # the longest first, as one may be part of another; "1" or "v2" is no secret
        self._secrets = sorted((text for text in secrets if len(text) >= SHORTEST_SECRET), key=len, reverse=True)

    def metadata(self) -> dict[str, object]:
        """Return the server's metadata of the model. Raises as `infer` does."""
        return self._request("GET", "", None, lambda: None)

    def infer(self, body: bytes, before: Callable[[], None]) -> dict[str, object]:
        """Send an inference request, with retries, and return the answer.

        Args:
            body: JSON of the request.
            before: called in each try after the connection is made, before the request is sent.

        Raises:
            BlackBoxError: no answer, an error, a redirect, too large an answer or one that is not a JSON object.
        """
        return self.post("/infer", body, before)

    def post(self, verb: str, body: bytes, before: Callable[[], None]) -> dict[str, object]:
        """Send a request to a path below the address; see `infer`."""
        return self._request("POST", verb, body, before)

    def _request(self, method: str, verb: str, body: bytes | None, before: Callable[[], None]) -> dict[str, object]:
        for attempt in range(self.retries + 1):
            try:
                status, headers, data = self._send(method, verb, body, before)
                self._require_ok(status, headers, data)
                break
            except _Retry as error:
                if attempt == self.retries:
                    tries = f" ({self.retries + 1} tries)" if self.retries else ""
                    raise BlackBoxError(f"model {self.public}: {error}{tries}") from error
                self.sleep(min(max(FIRST_WAIT * 2**attempt, error.wait), LONGEST_WAIT))
        try:
            answer = json.loads(data)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise BlackBoxError(f"model {self.public}: the server's answer is not a JSON object")
        return answer

    def _send(
        self, method: str, verb: str, body: bytes | None, before: Callable[[], None]
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Send one request and read the answer.

        Raises:
            _Retry: no connection, a lost connection, or no complete answer in time.
            BlackBoxError: a failure that another try would not change.
        """
        connection = self._connection()
        expired = threading.Event()
        timer: threading.Timer | None = None
        try:
            with self._failures(expired):
                connection.connect()
            before()
            # The time-out of the socket restarts with each byte of a slow answer; this timer does not.
            timer = threading.Timer(self.timeout, _shut_down, (connection.sock, expired))
            timer.start()
            with self._failures(expired):
                target = self.path + verb + (f"?{self.query}" if self.query else "")
                content = {"Content-Type": "application/json"} if body is not None else {}
                connection.request(method, target, body, {**self._headers, **content})
                response = connection.getresponse()
                data = response.read(MAX_ANSWER + 1)
                if len(data) <= MAX_ANSWER and response.length:
                    raise http.client.IncompleteRead(data, response.length)
                if expired.is_set():
                    raise TimeoutError
            return response.status, response.headers, data
        finally:
            if timer is not None:
                timer.cancel()
            connection.close()

    @contextmanager
    def _failures(self, expired: threading.Event) -> Iterator[None]:
        """Turn network errors into `_Retry`, or into BlackBoxError if another try would not help."""
        try:
            yield
        except ssl.SSLCertVerificationError as error:
            raise BlackBoxError(f"model {self.public}: its certificate is not valid: {error.verify_message}") from error
        except (OSError, http.client.HTTPException) as error:
            if expired.is_set() or isinstance(error, TimeoutError):
                raise _Retry(f"no answer in {self.timeout:g} s") from error
            if isinstance(error, (OSError, http.client.IncompleteRead)):
                raise _Retry(f"no connection ({_describe(error)})") from error
            raise BlackBoxError(f"model {self.public}: the server does not speak HTTP ({_describe(error)})") from error

    def _connection(self) -> http.client.HTTPConnection:
        if self.tls is not None:
            return http.client.HTTPSConnection(self.host, self.port, timeout=self.timeout, context=self.tls)
        return http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)

    def _require_ok(self, status: int, headers: http.client.HTTPMessage, data: bytes) -> None:
        if status == 429 or status >= 500:
            raise _Retry(f"the server fails with status {status}{self._error_in(data)}", _retry_after(headers))
        if 300 <= status < 400:
            host = _redirect_host(headers.get("Location", ""))
            raise BlackBoxError(f"model {self.public}: the server redirects to {host!r}; use that address instead")
        if status in (401, 403):
            raise BlackBoxError(
                f"model {self.public}: the server denies access ({status}); set {TOKEN_VARIABLE} to a valid token"
            )
        if status != 200:
            raise BlackBoxError(f"model {self.public}: the server answers with status {status}{self._error_in(data)}")
        if len(data) > MAX_ANSWER:
            raise BlackBoxError(f"model {self.public}: the server's answer is larger than {MAX_ANSWER >> 20} MiB")

    def _error_in(self, data: bytes) -> str:
        """Return `: text` with the server's error, in one line and without secrets; empty if there is none."""
        try:
            message = json.loads(data)["error"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return ""
        text = " ".join(str(message).split())
        for secret in self._secrets:
            text = text.replace(secret, LEFT_OUT)
        return ": " + "".join(character for character in text if character.isprintable())[:200]


def _shut_down(connected: socket.socket, expired: threading.Event) -> None:
    expired.set()
    with suppress(OSError):  # the connection may be closed already
        socket.socket.shutdown(connected, socket.SHUT_RDWR)  # for TLS too: this wakes up a blocked read


def _redirect_host(location: str) -> str:
    try:
        return urlsplit(location).netloc.rpartition("@")[2][:200] or "another path"
    except ValueError:
        return "no address"


def _describe(error: Exception) -> str:
    return str(error) or type(error).__name__


def _retry_after(headers: http.client.HTTPMessage) -> float:
    """Return the seconds that the server asks to wait, 0 if it does not."""
    text = headers.get("Retry-After", "")
    try:
        seconds = float(text) if text.strip().isdigit() else parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return seconds if math.isfinite(seconds) else 0.0
