"""The choices of how files are read. This module does not import NumPy or Pillow: the command line uses it."""

from typing import Literal, get_args

# what a written photo keeps of the EXIF entries that are harmless
Metadata = Literal["keep", "no-location", "none"]
METADATA = get_args(Metadata)
