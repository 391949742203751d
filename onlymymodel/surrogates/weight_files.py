"""Find and download the weights of a model: files of a repository on the hub, or a file at an address.

They are kept in the libraries' own caches, so that nothing is downloaded twice, or in the folder that `OMM_MODELS`
names, which has caches of the same layout and is not added to by a run.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

import huggingface_hub.constants as hub
import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError

from onlymymodel.errors import UserError
from onlymymodel.surrogates.facenet_files import ADDRESSES
from onlymymodel.surrogates.library_names import clip_record, timm_record, torchvision_record
from onlymymodel.surrogates.schemes import VARIABLE
from onlymymodel.surrogates.uri import ModelUri

SAFETENSORS, PICKLED, CONFIG = "model.safetensors", "pytorch_model.bin", "config.json"
CLIP_SAFETENSORS, CLIP_PICKLED = "open_clip_model.safetensors", "open_clip_pytorch_model.bin"
HASH = re.compile(r"-([a-f0-9]{8,})\.[a-z0-9.]+$")  # of a file's beginning, in its name
TIMEOUT = 10.0  # seconds, for the size of a file


class Caches(NamedTuple):
    """Folders of weights.

    Attributes:
        hub: cache of the hub's client.
        torch: parent of torch's caches.
        fixed: whether a run uses these files only, and downloads none.
    """

    hub: Path
    torch: Path
    fixed: bool = False

    @classmethod
    def below(cls, folder: Path, *, fixed: bool = True) -> "Caches":
        """Return the caches in a folder of one's own."""
        return cls(folder / "hub", folder / "torch", fixed)

    @classmethod
    def current(cls) -> "Caches":
        """Return the folder that `OMM_MODELS` names, or else the caches of the libraries."""
        if folder := os.environ.get(VARIABLE):
            return cls.below(Path(folder).expanduser())
        home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "torch")
        return cls(Path(hub.HF_HUB_CACHE), Path(home).expanduser())


@dataclass(frozen=True)
class WeightFiles:
    """The files of a model's weights.

    Attributes:
        key: names them in the lock of their folder: a repository with its revision as written, or an address.
        folder: the cache in which they are.
        repository: on the hub; "" for a file at an address.
        revision: of the repository; "" for the newest.
        names: the files; of the repository, or the path of the one file below the folder.
        optional: a name that takes the place of the first, where the repository has no such file.
    """

    key: str
    folder: Path
    names: tuple[str, ...]
    repository: str = ""
    revision: str = ""
    optional: str = ""

    @property
    def hash_prefix(self) -> str:
        """Beginning of the SHA-256 of the file, which its name has by the publisher's convention; "" if it has none."""
        match = None if self.repository else HASH.search(self.names[0])
        return match[1] if match else ""

    def at(self, revision: str) -> "WeightFiles":
        """Return the files of a certain revision."""
        return replace(self, revision=revision) if revision and self.repository else self

    def find(self) -> dict[str, Path] | None:
        """Return the files by their names, the weights first; None if one of them is not there."""
        for names in [self.names, (self.optional, *self.names[1:])] if self.optional else [self.names]:
            paths = [self._find(name) for name in names]
            if all(paths):
                return {name: path for name, path in zip(names, paths, strict=True) if path is not None}
        return None

    def _find(self, name: str) -> Path | None:
        if not self.repository:
            path = self.folder / name
            return path if path.is_file() else None
        found = try_to_load_from_cache(self.repository, name, self.folder, self.revision or None)
        return Path(found) if isinstance(found, str) else None

    def size(self) -> int | None:
        """Return the number of bytes to download; None if the server does not say. Raises OSError without a network."""
        if not self.repository:
            with urlopen(Request(self.key, method="HEAD"), timeout=TIMEOUT) as answer:
                length = answer.headers.get("Content-Length")
            return int(length) if length else None
        sizes = [self._on_hub(name) for name in self.names]
        return None if None in sizes else sum(size or 0 for size in sizes)

    def _on_hub(self, name: str) -> int | None:
        try:
            return get_hf_file_metadata(hf_hub_url(self.repository, name, revision=self.revision or None)).size
        except EntryNotFoundError:
            return self._on_hub(self.optional) if name == self.names[0] and name != self.optional else None

    def download(self, *, progress: bool = True) -> None:
        """Download what is missing, with a progress bar.

        Raises:
            RuntimeError: a file is not complete, or has another hash than its name says.
            OSError: no network, or what else the hub's client raises.
        """
        if not self.repository:
            self._download_from_address(progress)
            return
        for name in self.names:
            try:
                self._download_from_hub(name)
            except LocalEntryNotFoundError:
                raise
            except EntryNotFoundError:
                if name != self.names[0] or not self.optional:
                    raise
                self._download_from_hub(self.optional)

    def _download_from_address(self, progress: bool) -> None:
        path = self.folder / self.names[0]
        size = None if self.hash_prefix else self.size()  # torch notices a lost connection by the hash alone
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(self.key, str(path), self.hash_prefix or None, progress=progress)
        written = path.stat().st_size
        if size is not None and written != size:
            path.unlink()
            raise RuntimeError(f"the connection was lost after {written} of {size} bytes; run the command again")

    def _download_from_hub(self, name: str) -> None:
        hf_hub_download(self.repository, name, revision=self.revision or None, cache_dir=self.folder)


def files_of(uri: ModelUri, caches: Caches) -> WeightFiles | None:
    """Return the files of a model's weights; None for a model that is not downloaded.

    Raises:
        UserError: an unknown name.
    """
    checkpoints = caches.torch / "hub" / "checkpoints"
    if uri.scheme == "torchvision":
        return _at_address(torchvision_record(uri).url, checkpoints)
    if uri.scheme == "facenet" and uri.rest in ADDRESSES:
        return _at_address(ADDRESSES[uri.rest], caches.torch / "checkpoints")
    if uri.scheme == "hf-hub":
        repository, _, revision = uri.rest.partition("@")
        try:
            hf_hub_url(repository, CONFIG)  # checks the name
        except HFValidationError as error:
            raise UserError(f"model {uri.text!r}: write hf-hub:org/repo@revision ({error})") from error
        return WeightFiles(uri.rest, caches.hub, (SAFETENSORS, CONFIG), repository, revision, PICKLED)
    if uri.scheme == "clip":
        organization, repository, own = str(clip_record(uri)["hf_hub"]).split("/", 2)
        return WeightFiles(
            f"{organization}/{repository}",
            caches.hub,
            (own or CLIP_SAFETENSORS,),
            f"{organization}/{repository}",
            optional="" if own else CLIP_PICKLED,
        )
    if uri.scheme == "timm":
        record = timm_record(uri)
        if not record.hf_hub_id:
            return _at_address(record.url, checkpoints)
        repository, _, revision = record.hf_hub_id.partition("@")
        own = record.hf_hub_filename
        return WeightFiles(
            record.hf_hub_id, caches.hub, (own or SAFETENSORS,), repository, revision, "" if own else PICKLED
        )
    return None


def _at_address(url: str, folder: Path) -> WeightFiles:
    return WeightFiles(url, folder, (url.rpartition("/")[2],))


@contextmanager
def torch_reads_from(caches: Caches) -> Iterator[None]:
    """Let torch's own loaders read from these caches, and plain tensors only."""
    wanted = {"TORCH_HOME": str(caches.torch), "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1"}
    before: dict[str, Any] = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
