"""Weight downloads: allowed, because the user named a model of a hub; without a network they end in one sentence."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import huggingface_hub.constants as hub

from onlymymodel.errors import UserError

PROBE_SECONDS = 3.0


@contextmanager
def downloads(uri: str, go_on_offline: str) -> Iterator[None]:
    """Run a loader that may download; turn every way in which a network is missing into one clear sentence.

    Weights that are cached already load without a network: where the hub cannot be reached its client is put
    into offline mode for the time being (it would otherwise retry for most of a minute).

    Args:
        uri: the model, for the error.
        go_on_offline: what the user can write instead, for the error.
    """
    was_offline = hub.HF_HUB_OFFLINE
    hub.HF_HUB_OFFLINE = was_offline or not _hub_answers()
    try:
        yield
    except OSError as error:  # URLError, ConnectionError, the hub client's LocalEntryNotFoundError: all are OSError
        raise UserError(
            f"model {uri!r}: its weights are not in the cache and could not be downloaded "
            f"({type(error).__name__}); to go on offline, {go_on_offline}"
        ) from error
    finally:
        hub.HF_HUB_OFFLINE = was_offline


def _hub_answers() -> bool:
    """Whether the hub, or the proxy through which it is reached, takes a connection."""
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
