"""Load attacks from outside this package: `python:module:factory`, or a name of the entry-point group."""

import inspect
import logging
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from onlymymodel.data.manifest import sha256_file
from onlymymodel.errors import UserError, did_you_mean, first_line
from onlymymodel.protect.attack.external import Attack
from onlymymodel.surrogates.python_factory import find_factory

GROUP = "onlymymodel.attacks"  # of entry points
PREFIX = "python:"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedAttack:
    """An attack from outside, and its origin.

    Attributes:
        attack: the attack.
        name: as the user wrote it: `python:module:factory`, or the name of an entry point.
        sha256: of the file that defines its factory; "" where there is none.
        package: name and version of the package that offers it by an entry point; "" for `python:`.
    """

    attack: Attack
    name: str
    sha256: str = ""
    package: str = ""
    _logged: set[str] = field(default_factory=set, repr=False, compare=False)

    @classmethod
    def of(cls, attack: Attack) -> "LoadedAttack":
        """Return an attack object of the caller's own code under the name of its class."""
        kind = type(attack)
        return cls(attack, f"{PREFIX}{kind.__module__}:{kind.__qualname__}", _sha256_of_source(kind))

    def to_json(self) -> dict[str, Any]:
        """Return its origin, for `run.json`: whoever changes the attack gets other settings."""
        return {"name": self.name, "sha256": self.sha256, **({"package": self.package} if self.package else {})}

    def log_once(self, message: str, error: Exception) -> None:
        """Log an error with its traceback, the first time that it has this message."""
        if message not in self._logged:
            self._logged.add(message)
            log.error(message, exc_info=error)


def load_attack(name: str, *, allow_python: bool = False) -> LoadedAttack:
    """Load the attack that a recipe names.

    Args:
        name: `python:module:factory`, or the name of an entry point in the group `onlymymodel.attacks`.
        allow_python: whether it may be imported and run.

    Raises:
        UserError: it may not; there is no such factory or name; the factory fails or returns no `Attack`.
    """
    owner, package = f"attack {name!r}", ""
    if not allow_python:
        raise UserError(f"{owner} runs code from outside this package: add --allow-python if you trust it")
    if name.startswith(PREFIX):
        factory: Any = find_factory(owner, name.removeprefix(PREFIX))
    else:
        entry = _entry_point(owner, name)
        package = "" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
        try:
            factory = entry.load()
        except (ImportError, AttributeError) as error:
            raise UserError(f"{owner}, of {package or 'an unknown package'}: {error}") from error
    try:
        made = factory()
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{owner}: its factory raised {type(error).__name__}: {first_line(error)}") from error
    if not isinstance(made, Attack):
        raise UserError(f"{owner}: the factory must return an onlymymodel.Attack, not {type(made).__name__}")
    return LoadedAttack(made, name, _sha256_of_source(factory), package)


def _entry_point(owner: str, name: str) -> EntryPoint:
    offered = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name in offered:
        return offered[name]
    if not offered:
        raise UserError(f"{owner}: no installed package offers attacks; write python:module:factory for your own")
    raise UserError(f"{owner} is offered by no installed package{did_you_mean(name, offered)}")


def _sha256_of_source(factory: Any) -> str:
    """Return the hash of the file in which a class or function is defined; "" where there is no such file."""
    for owner in (factory, type(factory)):
        try:
            path = inspect.getsourcefile(owner)
        except TypeError:  # a built-in, or an object that can be called
            continue
        if path and Path(path).is_file():
            return sha256_file(Path(path))
    return ""
