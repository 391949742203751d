"""Report failures of weight downloads as one clear error."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import huggingface_hub.constants as hub
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined] # of the HTTP library that this version uses

from onlymymodel.errors import UserError
from onlymymodel.surrogates import zoo

PROBE_SECONDS = 3.0


@contextmanager
def download_errors(uri: str, offline_advice: str) -> Iterator[None]:
    """Run a loader that may download weights; turn every failure of the network into one clear error.

    Cached weights load without a network: if the hub cannot be reached, its client is in offline mode within this
    context (it would otherwise retry for most of a minute).

    Args:
        uri: the model, for the error.
        offline_advice: what the user can do without a network, for the error.

    Raises:
        UserError: the weights are not cached and cannot be downloaded.
    """
    was_offline = hub.HF_HUB_OFFLINE
    hub.HF_HUB_OFFLINE = was_offline or not _hub_is_reachable()
    try:
        yield
    except (OSError, HTTPException, HTTPError) as error:  # also URLError, and the hub client's LocalEntryNotFoundError
        raise UserError(
            f"model {uri!r}: its weights are not in the cache and could not be downloaded "
            f"({type(error).__name__}); to continue offline, {offline_advice}; or try the commands with a zoo: model "
            f"on the portraits of omm demo: {zoo.LIMIT}"
        ) from error
    finally:
        hub.HF_HUB_OFFLINE = was_offline


def _hub_is_reachable() -> bool:
    """Return whether the hub, or the proxy in front of it, accepts a connection."""
    address = urlsplit(hub.ENDPOINT)
    proxies = getproxies()
    proxy = proxies.get(address.scheme) or proxies.get("all")
    if proxy and not proxy_bypass(address.hostname or ""):
        address = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname, port), timeout=PROBE_SECONDS).close()
    except OSError:
        return False
    return True
