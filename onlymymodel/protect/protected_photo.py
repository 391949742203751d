"""Results of `Protector`: a protected photo, and a batch of them."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from PIL import Image
from torch import Tensor

from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.image_io import MAX_PIXELS, decode
from onlymymodel.data.pixels import Pixels, to_image
from onlymymodel.errors import UserError
from onlymymodel.protect.photo_record import PhotoRecord


@dataclass(frozen=True)
class ProtectedPhoto:
    """One photo after its protection.

    Attributes:
        data: bytes of the protected file, PNG or WebP; None where there is none, see the record's status and reason.
        record: status, reason, label, answers before and after, distortion; as a line of the manifest has them.
    """

    data: bytes | None = field(repr=False)
    record: PhotoRecord

    @cached_property
    def pixels(self) -> Pixels | None:
        """(H,W,3) RGB or (H,W,1) gray uint8, upright, as decoded from the file; None where there is none."""
        return None if self.data is None else decode(self.data, max_pixels=max(MAX_PIXELS, len(self.data) * 8)).pixels

    @property
    def image(self) -> Image.Image | None:
        """The pixels as a Pillow image."""
        return None if self.pixels is None else to_image(self.pixels)

    def save(self, path: Path | str) -> None:
        """Write the file, in one step: nobody finds half of it.

        Raises:
            UserError: there is no protected file to write.
            OSError: it cannot be written.
        """
        if self.data is None:
            raise UserError(f"there is no protected file to save: {self.record.status}, {self.record.reason}")
        write_atomic(Path(path), self.data)


@dataclass(frozen=True)
class ProtectedTensors:
    """A batch of photos after their protection.

    Attributes:
        pixels: (B,C,H,W) uint8, on the device of the photos that were given; a photo without a protected version is
            the original, unchanged.
        written: (B,) bool, whether each photo has a protected version.
        records: of each photo, see `ProtectedPhoto`.
    """

    pixels: Tensor
    written: Tensor
    records: tuple[PhotoRecord, ...]
