"""Files of masks: one mask for all photos, or one for each photo in a folder."""

from pathlib import Path, PurePosixPath

from onlymymodel.data.entry import without_picture_suffix
from onlymymodel.data.file_signatures import SUFFIXES


class Masks:
    """The masks of a run. Each of their folders is listed once, when a photo's mask is first looked for there.

    Args:
        place: one mask for all photos, or a folder with a mask for each photo, which has the photo's path and name with
            any image suffix; None where there are no masks.
    """

    def __init__(self, place: Path | None) -> None:
        self._place = place
        self._suffixes: dict[Path, list[str]] = {}

    def of(self, photo: PurePosixPath) -> Path | None:
        """Return the file of a photo's mask, by the photo's path below the source; None if it has none.

        Raises:
            OSError: a folder cannot be listed.
        """
        if self._place is None or self._place.is_file():
            return self._place
        folder = self._place / photo.parent
        name = without_picture_suffix(photo).name
        candidates = (folder / f"{name}{suffix}" for suffix in self._suffixes_in(folder))
        return next((path for path in candidates if path.is_file()), None)

    def _suffixes_in(self, folder: Path) -> list[str]:
        """Return the suffixes of pictures in a folder, in any case as in `scan`, lower case first."""
        if folder not in self._suffixes:
            present = {path.suffix for path in folder.iterdir()} if folder.is_dir() else set()
            self._suffixes[folder] = sorted((name for name in present if name.lower() in SUFFIXES), key=str.swapcase)
        return self._suffixes[folder]
