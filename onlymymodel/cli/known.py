"""Photos of a kind that a bundled model does not know: refused, or named in a warning with `--i-know`."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from onlymymodel.errors import UserError

if TYPE_CHECKING:
    from onlymymodel.data.regular_file import Readable
    from onlymymodel.protect.context import Context
    from onlymymodel.protect.limits import Limits

log = logging.getLogger(__name__)


def add_i_know(group: Any) -> None:
    """Add `--i-know`."""
    told = "go on where a bundled model (zoo:) is authorized for photos of a kind that it does not know"
    group.add_argument("--i-know", action="store_true", help=told)


def check_known_photos(
    context: "Context", photos: "Sequence[Readable]", limits: "Limits", *, accepted: bool = False
) -> None:
    """Refuse photos that a bundled authorized model does not know, or warn of them if that is accepted.

    Raises:
        UserError: it does not know them, and that is not accepted.
    """
    from onlymymodel.protect.known import ADVICE, unknown_photos

    unknown = unknown_photos(context, photos, limits)
    if unknown and not accepted:
        raise UserError(f"{unknown}; {ADVICE}, or add --i-know")
    if unknown:
        log.warning("%s; going on, since --i-know was given", unknown)
