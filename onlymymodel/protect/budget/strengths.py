"""Strengths: budgets by how visible a change may be, for people who do not want to choose numbers.

This module does not import torch, so that the command line starts quickly.
"""

from dataclasses import dataclass

from onlymymodel.protect.budget.kinds import LINF

# largest change of a pixel, in 1/255: reached only beside strong texture; a tenth of it in smooth parts as sky and skin
CAP = 16


@dataclass(frozen=True)
class Strength:
    """A named budget: bounds on SSIM and FLIP, beside texture and under `CAP`.

    Attributes:
        ssim: least structural similarity.
        flip: largest FLIP.
        meaning: what it looks like.
    """

    ssim: float
    flip: float
    meaning: str

    @property
    def bounds(self) -> dict[str, float | str]:
        """The budget, as `Budget.from_json` takes it."""
        return {LINF: CAP, "ssim": self.ssim, "flip": self.flip, "shape": "texture"}


STRENGTHS: dict[str, Strength] = {  # from the weakest on
    "low": Strength(0.98, 0.07, "not seen without comparing; weakest protection"),
    "medium": Strength(0.95, 0.10, "grain in textured parts when compared; sky and skin stay clean"),
    "high": Strength(0.90, 0.13, "grain in textured parts; strongest protection"),
}
DEFAULT = "medium"
AUTO = "auto"
SET_BY_STRENGTH = ("ssim", "flip")  # bounds in which strengths differ
AUTO_MEANING = (
    "for each photo the weakest of these at which every stand-in that can be misled is misled; that is fitted to the "
    "stand-ins, and judges may read more of it"
)
