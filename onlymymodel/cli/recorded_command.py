"""The command line, as results record it."""

import shlex
from collections.abc import Sequence

from onlymymodel.surrogates.uri import redacted


def recorded_command(words: Sequence[str]) -> str:
    """Return a command line that can be pasted into a shell, without the secrets in the URIs of servers.

    Args:
        words: the arguments of `omm`.
    """
    return shlex.join(["omm", *map(redacted, words)])
