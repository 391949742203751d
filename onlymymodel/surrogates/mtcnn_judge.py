"""`mtcnn:faces`: does MTCNN, which comes with facenet-pytorch, still find a face?"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onlymymodel.errors import UserError
from onlymymodel.surrogates.detector import DETECTION, NOTHING, Detections
from onlymymodel.surrogates.fingerprint import fingerprint, parameters_sha256
from onlymymodel.surrogates.model_card import READ_ELSEWHERE, ModelCard
from onlymymodel.surrogates.options import override_card
from onlymymodel.surrogates.uri import ModelUri

WEIGHTS = "faces"
CARD: dict[str, Any] = {"family": "mtcnn", "parent": "facenet-pytorch-mtcnn"}


class MtcnnJudge:
    """A face detector as a black box, at the photo's own size: its classes are `face` and `nothing`.

    The score of `face` is the largest probability of a face; one of at least `face_detector.MIN_PROBABILITY` is found.

    Args:
        uri: `mtcnn:faces`.

    Raises:
        UserError: another name, or an option that does not fit.
    """

    def __init__(self, uri: ModelUri) -> None:
        from onlymymodel.surrogates.face_detector import detector  # which takes seconds to import

        if uri.rest != WEIGHTS:
            raise UserError(f"model {uri.text!r}: write mtcnn:{WEIGHTS}")
        if "threshold" in uri.options:
            raise UserError(f"model {uri.text!r}: a threshold is for MTCNN at one size: add &size=640")
        net = detector()
        card = ModelCard(
            uri=uri.public,
            sha256=parameters_sha256(net),
            classes=2,
            preprocess=READ_ELSEWHERE,
            task=DETECTION,
            labels=("face", NOTHING),
            weights=fingerprint(net.state_dict().values()),
            **CARD,
        )
        self.card = override_card(card, uri)

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """See `BlackBox.predict`."""
        rows = [self._scores(self.detect(image)) for image in images]
        return np.stack(rows) if rows else np.zeros((0, self.card.classes), np.float32)

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """See `Detects`; boxes are shares of the photo."""
        from onlymymodel.surrogates.face_detector import find_faces

        faces = sorted(find_faces(image), key=lambda face: -face.probability)
        size = torch.tensor([image.shape[1], image.shape[0]] * 2)
        boxes = torch.tensor([face.box for face in faces]).reshape(-1, 4) / size
        scores = torch.tensor([face.probability for face in faces])
        return Detections(boxes, scores, torch.zeros(len(faces), dtype=torch.long))

    def _scores(self, found: Detections) -> NDArray[np.float32]:
        from onlymymodel.surrogates.face_detector import MIN_PROBABILITY

        return np.array([float(found.scores[0]) if len(found) else 0.0, MIN_PROBABILITY], np.float32)
