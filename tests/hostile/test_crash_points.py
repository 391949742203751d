"""A run that ends at any write, sync, rename or removal loses nothing, and the same command completes it."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hostile import check_lines, files_of, lines_of, protect, save_photo

from onlymymodel.data.manifest import sha256
from onlymymodel.protect import batches as batches_module
from onlymymodel.protect.photo import protect_photos
from onlymymodel.protect.photo_record import MANIFEST

CALLS = ("open", "write", "fsync", "ftruncate", "fchmod", "replace", "rename", "unlink", "mkdir")


class Killed(BaseException):
    """The process ends here."""


class Machine:
    """The file system calls of a process that is killed at one of them.

    At a write, half of the bytes are written first. After the end every further call fails too, so that no cleanup of
    the dead process changes anything; its descriptors are closed, and its locks end with them.

    Args:
        end: number of the call at which it ends, from 0; never if None.
    """

    def __init__(self, end: int | None) -> None:
        self.end, self.count, self.calls = end, 0, list[str]()

    def call(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        """Return a system call that counts, or ends the process."""

        def wrapped(*arguments: Any, **named: Any) -> Any:
            if name == "open" and not arguments[1] & (os.O_WRONLY | os.O_RDWR):
                return real(*arguments, **named)  # reading leaves no trace
            number, self.count = self.count, self.count + 1
            self.calls.append(name)
            if self.end is not None and number >= self.end:
                if name == "write" and number == self.end:
                    real(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                raise Killed
            return real(*arguments, **named)

        return wrapped


@contextmanager
def machine(end: int | None = None) -> Iterator[Machine]:
    running = Machine(end)
    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, running.call(name, getattr(os, name)))
        yield running


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Photos of two sizes in two folders, one that is no photo, and one that is a link."""
    source = tmp_path / "photos"
    for index, name in enumerate(("0.png", "1.png", "trip/2.png", "trip/deep/3.png", "trip/4.png")):
        save_photo(source / name, index, side=24 + 8 * (index % 2))
    (source / "trip" / "text.jpg").write_text("no photo")
    (source / "link.png").symlink_to("0.png")
    return source


@pytest.fixture(autouse=True)
def computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute each batch once: what is tested is when its result is written."""
    real, results = protect_photos, dict[str, Any]()

    def cached(sources: Any, *rest: Any) -> Any:
        key = " ".join(sha256(source.data) for source in sources)
        if key not in results:
            results[key] = real(sources, *rest)
        return results[key]

    monkeypatch.setattr(batches_module, "protect_photos", cached)


def is_true(out: Path, source: Path) -> None:
    """Assert that every line that is there names a file that is there, whole."""
    for line in lines_of(out):
        if line["output"] is not None:
            assert sha256((out / line["output"]).read_bytes()) == line["output_sha256"]
            assert sha256((source / line["source"]).read_bytes()) == line["source_sha256"]


def pictures(out: Path) -> dict[str, bytes]:
    return {name: data for name, data in files_of(out).items() if name != MANIFEST}


@pytest.mark.slow
def test_a_first_run_that_ends_anywhere_is_completed(photos: Path, tmp_path: Path) -> None:
    originals = files_of(photos)
    with machine() as undisturbed:
        protect(photos, tmp_path / "whole")
    expected, lines = pictures(tmp_path / "whole"), lines_of(tmp_path / "whole")
    assert undisturbed.count >= 50
    assert {"open", "write", "fsync", "replace", "unlink", "mkdir"} <= set(undisturbed.calls)
    for end in range(undisturbed.count):
        out = tmp_path / "out"
        with pytest.raises(Killed), machine(end):
            protect(photos, out)
        if out.exists():
            is_true(out, photos)
        protect(photos, out)
        assert (pictures(out), lines_of(out)) == (expected, lines), (end, undisturbed.calls[end])
        check_lines(photos, out)
        assert files_of(photos) == originals
        shutil.rmtree(out)


@pytest.mark.slow
def test_a_later_run_that_ends_anywhere_is_completed(photos: Path, tmp_path: Path) -> None:
    """Photos have changed, come, gone bad and been damaged since the first run, and its last line is torn."""
    first = tmp_path / "first"
    protect(photos, first)
    save_photo(photos / "1.png", 11)
    save_photo(photos / "trip" / "new.png", 12)
    (photos / "0.png").write_bytes(b"no photo any more")
    (first / "trip" / "2.png").write_bytes(b"damaged")
    with (first / MANIFEST).open("ab") as file:
        file.write(b'{"source": "half a li')
    originals = files_of(photos)
    shutil.copytree(first, tmp_path / "whole")
    with machine() as undisturbed:
        protect(photos, tmp_path / "whole")
    expected, lines = pictures(tmp_path / "whole"), lines_of(tmp_path / "whole")
    assert {"ftruncate", "unlink", "replace"} <= set(undisturbed.calls)
    for end in range(undisturbed.count):
        out = tmp_path / "out"
        shutil.copytree(first, out)
        with pytest.raises(Killed), machine(end):
            protect(photos, out)
        protect(photos, out)
        assert pictures(out) == expected, (end, undisturbed.calls[end])
        # what was written before the end comes first
        assert {line["source"]: line for line in lines_of(out)} == {line["source"]: line for line in lines}
        check_lines(photos, out)
        assert files_of(photos) == originals
        shutil.rmtree(out)


@pytest.mark.slow
def test_a_run_that_ends_twice_is_completed(photos: Path, tmp_path: Path) -> None:
    protect(photos, tmp_path / "whole")
    expected = pictures(tmp_path / "whole")
    for end in range(3, 60, 4):
        out = tmp_path / "out"
        for again in (end, end // 2):
            with suppress(Killed), machine(again):  # the second may have less left to do
                protect(photos, out)
        protect(photos, out)
        assert pictures(out) == expected
        check_lines(photos, out)
        shutil.rmtree(out)
