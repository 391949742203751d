"""The choices of some settings of a run. This module does not import torch or NumPy: the command line uses it."""

from typing import Literal, get_args

RegionKind = Literal["image", "face", "mask"]
NoFace = Literal["skip", "image"]
Faces = Literal["all", "largest"]
Format = Literal["png", "webp"]
REGION_KINDS, NO_FACE, FACES, FORMATS = get_args(RegionKind), get_args(NoFace), get_args(Faces), get_args(Format)
WITHOUT_MASKS: tuple[RegionKind, ...] = ("image", "face")  # regions that need no mask
