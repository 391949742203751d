"""The files of the weights that a URI names: found in a cache or downloaded, and checked against the lock."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from onlymymodel.errors import UserError, first_line
from onlymymodel.surrogates.hub import download_errors
from onlymymodel.surrogates.schemes import VARIABLE
from onlymymodel.surrogates.uri import ModelUri, parse_uri
from onlymymodel.surrogates.weight_files import Caches, WeightFiles, files_of
from onlymymodel.surrogates.weight_lock import WeightLock


def fetch_command(uris: Sequence[str], folder: Path | str = "DIR") -> str:
    """Return the command that fetches the weights of models to a folder."""
    which = shlex.quote(uris[0]) if len(uris) == 1 else "--preset NAME (or URI ...)"
    return f"omm models fetch {which} --to {folder}"


def offline_advice(uris: Sequence[str]) -> str:
    """Return what to do where these weights cannot be downloaded."""
    return f"run {fetch_command(uris)} on a machine with a network, copy DIR here and set {VARIABLE}=DIR"


def not_in_folder(uris: Sequence[str], caches: Caches) -> UserError:
    """Return the error for models that are not in the folder that `OMM_MODELS` names."""
    others = f" and {len(uris) - 1} more" if len(uris) > 1 else ""
    folder = caches.hub.parent
    return UserError(
        f"the weights of {uris[0]}{others} are not in {VARIABLE} ({folder}), which a run does not add to: run "
        f"{fetch_command(uris, folder)} on a machine with a network"
    )


def weight_paths(uri: ModelUri, caches: Caches | None = None, *, progress: bool = True) -> dict[str, Path]:
    """Return the files of a model's weights by their names, the weights first; they are downloaded if need be.

    Args:
        uri: of a model that is downloaded.
        caches: where they are; the current ones by default.
        progress: whether to show a progress bar.

    Raises:
        UserError: an unknown name; not in `OMM_MODELS`, or no network; other files than at the first use.
    """
    caches = caches or Caches.current()
    files = _pinned(uri, caches)
    assert files is not None, uri
    paths = files.find()
    if paths is None:
        if caches.fixed:
            raise not_in_folder([uri.public], caches)
        download(uri, files, progress=progress)
        paths = files.find()
        assert paths is not None, files
    WeightLock(files.folder).check(uri.public, files, paths)
    return paths


def download(uri: ModelUri, files: WeightFiles, *, progress: bool = True) -> None:
    """Download the files of a model's weights.

    Raises:
        UserError: no such repository or file, no network, or a file with another hash than its name says.
    """
    try:
        with download_errors(uri.public, offline_advice([uri.public])):
            files.download(progress=progress)
    except RuntimeError as error:
        raise UserError(f"model {uri.text!r}: its weights were not downloaded: {error}") from error


@contextmanager
def readable(uri: ModelUri, passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Run a loader of a model's files; what it raises on other files becomes one clear error.

    Args:
        uri: of the model, for the error.
        passing: errors that the caller reports itself.

    Raises:
        UserError: the files are not those of the model, or hold more than plain tensors.
    """
    try:
        yield
    except Exception as error:  # whatever the libraries raise on a file that is damaged, or another one
        if isinstance(error, (UserError, OSError, MemoryError, *passing)):
            raise
        raise UserError(
            f"model {uri.public!r}: its files hold other weights, or more than plain tensors: {first_line(error)}"
        ) from error


def missing_weights(uris: Sequence[str], caches: Caches | None = None) -> dict[str, WeightFiles]:
    """Return the models among these URIs whose weights have yet to be downloaded, with their files.

    Raises:
        UserError: an unknown name.
    """
    caches = caches or Caches.current()
    missing = {}
    for uri in (uri for uri in map(parse_uri, uris) if uri.kind.downloads):
        files = _pinned(uri, caches)
        if files is not None and files.find() is None:
            missing[uri.public] = files
    return missing


def _pinned(uri: ModelUri, caches: Caches) -> WeightFiles | None:
    """Return the files of a model at the revision that the lock has; None for a model that is not downloaded."""
    files = files_of(uri, caches)
    return files and files.at(WeightLock(files.folder).revision_of(files))
