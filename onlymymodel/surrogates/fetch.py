"""Download the weights of several models, after saying how much that is."""

import sys
from collections.abc import Mapping, Sequence

from onlymymodel.errors import number_of
from onlymymodel.progress import remark, track
from onlymymodel.surrogates.hub import download_errors
from onlymymodel.surrogates.uri import parse_uri
from onlymymodel.surrogates.weight_files import Caches, WeightFiles
from onlymymodel.surrogates.weights import download, missing_weights, not_in_folder, offline_advice, weight_paths

MB = 1_000_000


def fetch_weights(uris: Sequence[str], caches: Caches | None = None, *, progress: bool = True) -> None:
    """Download what is missing of the weights of models, and check all of them against the lock.

    Args:
        uris: of any models; those that are not downloaded are passed over.
        caches: where the weights are; the current ones by default.
        progress: whether to say what is downloaded, and to show it.

    Raises:
        UserError: see `weight_paths`; the message is about all models that are missing.
    """
    caches = caches or Caches.current()
    missing = missing_weights(uris, caches)
    if missing and caches.fixed:
        raise not_in_folder(list(missing), caches)
    if missing:
        sizes = _sizes(missing)
        if progress:
            _say(sizes)
    bars = progress and sys.stderr.isatty()
    for uri, files in track(missing.items(), "downloading", unit="model", progress=progress and bool(missing)):
        download(parse_uri(uri), files, progress=bars)
        weight_paths(parse_uri(uri), caches)


def _sizes(missing: Mapping[str, WeightFiles]) -> dict[str, int | None]:
    """Return the number of bytes of each model; None where the server does not say.

    Raises:
        UserError: no network, or no such repository.
    """
    advice, sizes = offline_advice(list(missing)), {}
    for uri, files in missing.items():
        with download_errors(uri, advice):
            sizes[uri] = files.size()
    return sizes


def _say(sizes: Mapping[str, int | None]) -> None:
    known = sum(size for size in sizes.values() if size is not None)
    more = " or more" if None in sizes.values() else ""
    remark(f"omm: {number_of(len(sizes), 'model')} to download, {known / MB:.0f} MB{more}, once:")
    for uri, size in sizes.items():
        remark(f"  {'? MB' if size is None else f'{size / MB:.0f} MB':>7}  {uri}")
