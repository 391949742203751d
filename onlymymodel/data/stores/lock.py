"""Let one run at a time write into a folder of a store, by nothing but objects and their times.

Every run first writes a lock of its own, then looks for those of others, and gives way if one is alive. Of two runs at
least one sees the other, so that two never write; stores whose listings are up to date (all large ones) need no further
promise. A lock is renewed while its run lives and lapses by the store's own clock, so that a killed run holds nothing
up for long; on its own machine it is known at once that its process is gone.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from onlymymodel.data.atomic import OWN
from onlymymodel.data.stores.errors import as_user_errors
from onlymymodel.data.stores.remote import RemoteFolder
from onlymymodel.errors import UserError

PREFIX = f"{OWN}locks/"
RENEWED, LAPSES = 30.0, 180.0  # seconds between two renewals; after which a lock that was not renewed is a dead run's
_LONGEST = 4096  # bytes that are read of a lock


@contextmanager
def lock_remote(folder: RemoteFolder, about: Mapping[str, Any]) -> Iterator[None]:
    """Hold a folder of a store.

    Args:
        folder: the folder.
        about: further entries of the lock, for those who look at it.

    Raises:
        UserError: another run holds it (the message says which), or the store cannot be written.
    """
    key, done = f"{PREFIX}{secrets.token_hex(8)}", threading.Event()
    since = datetime.now(UTC).isoformat(timespec="seconds")
    holder = {"process": os.getpid(), "computer": platform.node(), "since": since, "place": _place(), **about}
    content = json.dumps(holder).encode()
    with as_user_errors(f"{folder}"):
        folder.put(key, content)
        try:
            _give_way(folder, key)
        except BaseException:
            folder.remove(key)
            raise
    renewal = threading.Thread(target=_renew, args=(folder, key, content, done), name="omm-lock", daemon=True)
    renewal.start()
    try:
        yield
    finally:
        done.set()
        renewal.join()
        with suppress(OSError):  # it lapses
            folder.remove(key)


def _give_way(folder: RemoteFolder, own: str) -> None:
    """Raise UserError if another run is alive; remove the locks of dead ones. Raises OSError."""
    now = folder.modified(own)
    for key in (file.key for file in folder.files_below(PREFIX) if file.key != own):
        try:
            holder = json.loads(folder.read_range(key, 0, _LONGEST))
            written = folder.modified(key)
        except FileNotFoundError:  # it has just ended
            continue
        except ValueError:
            holder, written = {}, folder.modified(key)
        if _is_gone(holder) or (now is not None and written is not None and now - written > LAPSES):
            folder.remove(key)
            continue
        raise UserError(
            f"{folder} is in use by another run ({_described(holder)}): wait for its end, or give another --out; if it "
            f"was killed, its lock lapses {LAPSES:.0f} seconds after its last sign of life"
        )


def _described(holder: Any) -> str:
    """Return who holds a lock, in words. What another program wrote there is not believed."""
    try:
        process, since = int(holder["process"]), datetime.fromisoformat(holder["since"])
        computer = "".join(character for character in str(holder["computer"])[:100] if character.isprintable())
    except (ValueError, KeyError, TypeError):
        return "which does not say who it is"
    return f"process {process} on {computer}, since {since:%Y-%m-%d %H:%M:%S} UTC"


def _is_gone(holder: Any) -> bool:
    """Return whether a run was one of this machine, and its process is there no more."""
    try:
        if holder["computer"] != platform.node() or not _place() or holder["place"] != _place():
            return False
        os.kill(int(holder["process"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return False
    return False


def _place() -> str:
    """Return what tells this system's process numbers from those of other machines and containers; "" if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except (OSError, ValueError):
        return ""


def _renew(folder: RemoteFolder, key: str, content: bytes, done: threading.Event) -> None:
    """Write the lock again and again until the run is done."""
    while not done.wait(RENEWED):
        with suppress(OSError):  # the next time, perhaps
            folder.put(key, content)
