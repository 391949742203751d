"""Folders in remote stores (S3, Google Cloud Storage, Hugging Face, ...) by fsspec: list, read, write, remove."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from onlymymodel.data.regular_file import NamedByKey
from onlymymodel.data.stores.address import parse_address
from onlymymodel.data.stores.client import open_client
from onlymymodel.data.stores.errors import as_user_errors, reasons
from onlymymodel.data.stores.looked import Looked, look_back
from onlymymodel.data.stores.stamps import Stamps

HEAD_BYTES = 16 << 10  # of each photo, read in one request: it has the header of nearly all
BLOCK = 64 << 10  # bytes of each further request for a header
AT_ONCE = 256  # photos whose heads are asked for together
# what identifies the content of an object, by the names that the clients of stores give it; the first that is there
_CONTENT = ("ETag", "etag", "md5Hash", "generation", "blob_id", "content_settings")
_CHANGED = ("LastModified", "last_modified", "mtime", "modified", "updated", "created")


@dataclass(frozen=True)
class RemoteFile(NamedByKey):
    """An object below a folder of a store; a `StoredFile`.

    Attributes:
        folder: the folder.
        key: its path below the folder, or its own name if the "folder" is this one object.
        size: number of bytes, as the store listed it.
        stamp: changes with the content, as far as the store tells; None where it does not.
        head: its first bytes, if they were read.
    """

    folder: RemoteFolder
    key: str
    size: int
    stamp: str | None
    head: bytes = b""

    def open(self) -> io.BufferedReader:
        """Open it for reading; parts are transferred when they are read. Reading raises OSError."""
        return io.BufferedReader(_Ranges(self), BLOCK)

    def read_all(self) -> bytes:
        """Return all bytes. Raises OSError, also where their number is not the listed one."""
        data = self.folder.read_range(self.key, 0, self.size + 1) if self.size else b""
        if len(data) != self.size:
            raise OSError(errno.EIO, "it was changed, or cut short, while it was read", self.name)
        return data


class _Ranges(io.RawIOBase):
    """The bytes of a remote file, each read a request for a range."""

    def __init__(self, file: RemoteFile) -> None:
        super().__init__()
        self._file, self._position = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._file.size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        end = min(self._position + len(buffer), self._file.size)
        if end <= self._position:
            return 0
        data = self._file.head[self._position : end]
        if not data:
            data = self._file.folder.read_range(self._file.key, self._position, end)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


@dataclass(frozen=True, eq=False)
class RemoteFolder:
    """A folder of a store, or one object in it.

    Attributes:
        uri: its address, without secrets.
        client: the store's client, an fsspec file system.
        root: its path for the client.
        single: whether it is one object.
        known: what is known of its photos from earlier runs.
        looked_at: what its objects are, by their keys, as far as that was looked at.
    """

    uri: str
    client: Any
    root: str
    single: bool = False
    known: Stamps | None = None
    looked_at: dict[str, Looked] = field(default_factory=dict)
    _listing: list[list[RemoteFile]] = field(default_factory=list)  # at most one

    def look_back(self, file: RemoteFile) -> Looked | None:
        """Return what an object is that was looked at before and has not changed; None for any other."""
        return look_back(self.looked_at, self.known, file.key, file.stamp)

    def __str__(self) -> str:
        return self.uri

    def files(self) -> list[RemoteFile]:
        """Return all objects below the folder, ordered by their keys; none if it does not exist. Raises OSError."""
        return self._listing.pop() if self._listing else self.files_below("")

    def look_ahead(self) -> list[RemoteFile]:
        """Return what the next call of `files` returns, which then asks the store no more. Raises OSError."""
        self._listing[:] = [self.files_below("")]
        return self._listing[0]

    def check_listed(self) -> None:
        """Raise OSError if the folder cannot be listed: a client may list nothing then. One that is not there can."""
        with reasons(self.uri), suppress(FileNotFoundError):
            self.client.ls(self.root)

    def files_below(self, prefix: str) -> list[RemoteFile]:
        """Return the objects below the folder whose keys are in the folder `prefix/`, as `files`. Raises OSError."""
        self.client.invalidate_cache()
        with reasons(self.uri):
            try:
                found = self.client.find(f"{self.root}/{prefix}".rstrip("/"), detail=True)
            except FileNotFoundError:
                return []
            if self.single:
                found = {self.root: self.client.info(self.root)}
        start = self.root.rpartition("/")[0] if self.single else self.root
        files = []
        for path, info in sorted(found.items()):
            # objects that stand for folders have no content
            if path.startswith(f"{start}/{prefix}") and not path.endswith("/") and info.get("type") != "directory":
                files.append(RemoteFile(self, path[len(start) + 1 :], int(info.get("size") or 0), _stamp(info)))
        return files

    def with_heads(self, files: Iterable[RemoteFile]) -> Iterator[RemoteFile]:
        """Yield files with their first bytes, many of which are read at a time; without them where that fails."""
        rest = iter(files)
        while some := list(islice(rest, AT_ONCE)):
            asked = [file for file in some if file.size]
            paths, ends = [self._path(file.key) for file in asked], [min(file.size, HEAD_BYTES) for file in asked]
            heads = self.client.cat_ranges(paths, [0] * len(asked), ends, on_error="return") if asked else []
            found = {file.key: head for file, head in zip(asked, heads, strict=True) if isinstance(head, bytes)}
            yield from (replace(file, head=found.get(file.key, b"")) for file in some)

    def file(self, key: str) -> RemoteFile:
        """Return the object with a key. Raises OSError; FileNotFoundError where there is none."""
        with reasons(key):
            self.client.invalidate_cache()
            info = self.client.info(self._path(key))
            if info.get("type") == "directory":
                raise FileNotFoundError(errno.ENOENT, "no such object", key)
            return RemoteFile(self, key, int(info.get("size") or 0), _stamp(info))

    def read_range(self, key: str, start: int, end: int) -> bytes:
        """Return bytes of an object, fewer at its end. Raises OSError."""
        with reasons(key):
            data: bytes = self.client.cat_file(self._path(key), start=start, end=end)
            # a web server may know no ranges, and sends everything
            return data if len(data) <= end - start else data[start:end]

    def download(self, key: str, path: Path) -> bool:
        """Write an object to a new file of this machine; return False if there is none. Raises OSError."""
        try:
            file = self.file(key)
        except FileNotFoundError:
            return False
        with reasons(key), path.open("xb") as target:
            for start in range(0, file.size, 64 * BLOCK):
                target.write(self.read_range(key, start, min(file.size, start + 64 * BLOCK)))
        return True

    def put(self, key: str, data: bytes, *, create: bool = False) -> None:
        """Write an object; a reader sees the old one or all of the new one.

        Args:
            key: its path below the folder.
            data: its content.
            create: only if there is none; where the store cannot promise that, there may be a race.

        Raises:
            OSError: FileExistsError where there is one and `create` is given.
        """
        with reasons(key):
            path = self._path(key)
            path.encode()  # a name of this machine may be no Unicode
            if not create:
                self.client.pipe_file(path, data)
                return
            try:
                self.client.pipe_file(path, data, mode="create")
            except (NotImplementedError, ValueError, TypeError):  # the client knows no such condition
                self.client.invalidate_cache()
                if self.client.exists(path):
                    raise FileExistsError(errno.EEXIST, "it exists", key) from None
                self.client.pipe_file(path, data)

    def upload(self, path: Path, key: str) -> None:
        """Write an object from a file of this machine; a reader sees the old one or all of the new one. Raises OSError.

        A large file is sent in parts, and is there once the last one is.
        """
        with reasons(key):
            self.client.put_file(str(path), self._path(key))

    def remove(self, key: str) -> None:
        """Remove an object, if it is there. Raises OSError."""
        with reasons(key), suppress(FileNotFoundError):
            self.client.rm_file(self._path(key))

    def modified(self, key: str) -> float | None:
        """Return when an object was last written, in seconds by the store's clock; None where it does not say."""
        with reasons(key):
            self.client.invalidate_cache()
            try:
                return float(self.client.modified(self._path(key)).timestamp())
            except (NotImplementedError, KeyError, AttributeError):
                return None

    def below(self, name: str) -> RemoteFolder:
        """Return a folder below this one."""
        return RemoteFolder(f"{self.uri}/{name}", self.client, f"{self.root}/{name}")

    def above(self) -> Iterator[RemoteFolder]:
        """Yield the folders above it, the nearest first."""
        uri, root = self.uri, self.root
        while "/" in root.strip("/"):
            uri, root = uri.rpartition("/")[0], root.rpartition("/")[0]
            yield RemoteFolder(uri, self.client, root)

    def is_inside(self, other: RemoteFolder) -> bool:
        """Return whether it is another folder or below it."""
        same_store = type(self.client) is type(other.client) and (
            self.client.storage_options == other.client.storage_options
        )
        return same_store and f"{self.root}/".startswith(f"{other.root}/")

    def _path(self, key: str) -> str:
        return self.root if self.single else f"{self.root}/{key}"


def open_remote(address: str) -> RemoteFolder:
    """Return the folder, or the one object, at an address such as `s3://bucket/photos`.

    Credentials and all other settings are those of the store's client, from its environment and files.

    Raises:
        UserError: the address has credentials, a query or no bucket; its client is unknown, not installed or not
            configured, or its server cannot be reached.
    """
    scheme, rest = parse_address(address)
    client = open_client(scheme, rest)
    with as_user_errors(f"{scheme}://{rest}"), reasons(rest):
        root = str(client._strip_protocol(f"{scheme}://{rest}")).rstrip("/")
        single = bool(client.isfile(root))
    return RemoteFolder(f"{scheme}://{rest}", client, root, single)


def _stamp(info: Any) -> str | None:
    """Return what tells one content of an object from another; None where its store says nothing but the size."""
    for keys in (_CONTENT, _CHANGED):
        for value in (info[key] for key in keys if info.get(key)):
            # a listing may have a number for the time that the object itself has as a date
            return f"{info.get('size')} {value.timestamp() if isinstance(value, datetime) else value}"
    return None
