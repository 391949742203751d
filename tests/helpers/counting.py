"""A black box that records the images it is queried with."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from toys import small_cnn

from onlymymodel.surrogates.black_box import ClassifierBlackBox
from onlymymodel.surrogates.recorded_answers import image_key


def images(count: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (16, 16, 3), dtype=np.uint8) for _ in range(count)]


class Counting:
    """A black box that records the images it is queried with."""

    def __init__(self, seed: int = 1) -> None:
        self.model = ClassifierBlackBox(small_cnn(seed=seed))
        self.card = self.model.card
        self.queried: list[str] = []

    def predict(self, images: Any) -> NDArray[np.float32]:
        self.queried += [image_key(image) for image in images]
        return self.model.predict(images)
