"""`mtcnn:faces?size=SIDE` with gradients: MTCNN's cascade as a detector of faces.

The scores of its last network are differentiable; the boxes that the first two networks propose are constants, as in
other detectors of two stages. It computes what facenet-pytorch's `detect_face` does, from its own parts.
"""

from copy import deepcopy

import torch
from facenet_pytorch.models.utils.detect_face import bbreg, generateBoundingBox, imresample, pad, rerec
from torch import Tensor, nn
from torchvision.ops import nms

from onlymymodel.errors import UserError
from onlymymodel.surrogates.black_box import BlackBox
from onlymymodel.surrogates.detector import Candidates, Detector, detector_record, found_score
from onlymymodel.surrogates.face_detector import MIN_PROBABILITY, detector
from onlymymodel.surrogates.fingerprint import fingerprint, parameters_sha256
from onlymymodel.surrogates.loaded import Loaded
from onlymymodel.surrogates.model_card import Preprocess
from onlymymodel.surrogates.mtcnn_judge import CARD, WEIGHTS, MtcnnJudge
from onlymymodel.surrogates.uri import ModelUri

CELL, FIRST_OVERLAP, OVERLAP = 12, 0.5, 0.7  # side of the first network's input, and suppression, as in detect_face
SIDES = (24, 48)  # inputs of the other two networks
Boxes = Tensor  # (N,4) left, top, right, bottom in pixels


class MtcnnCascade(nn.Module):
    """MTCNN (Zhang et al., 2016): maps (B,3,height,width) in [0,1] to candidates of the one class `face`.

    Candidates are the proposals of the first two networks, at their own thresholds, with the boxes and the
    probabilities of the third, of which none is left out.
    """

    def __init__(self) -> None:
        super().__init__()
        mtcnn = detector()
        self.pnet, self.rnet, self.onet = (deepcopy(net) for net in (mtcnn.pnet, mtcnn.rnet, mtcnn.onet))
        self.least_face, self.factor = mtcnn.min_face_size, mtcnn.factor
        self.first, self.second = mtcnn.thresholds[:2]

    def forward(self, network_input: Tensor) -> Candidates:
        with torch.autocast(network_input.device.type, enabled=False):  # thresholds are of float32
            found = [self._candidates(255 * photo.float()) for photo in network_input]
        most = max(len(scores) for _, scores in found)
        height, width = network_input.shape[-2:]
        size = torch.tensor([width, height, width, height]).to(network_input)
        boxes = [nn.functional.pad(boxes / size, (0, 0, 0, most - len(boxes))) for boxes, _ in found]
        scores = [nn.functional.pad(scores, (0, most - len(scores)))[:, None] for _, scores in found]
        return Candidates(torch.stack(boxes), torch.stack(scores))

    def _candidates(self, photo: Tensor) -> tuple[Boxes, Tensor]:
        """Return boxes and (N,) probabilities of a (3,height,width) photo in [0,255]."""
        with torch.no_grad():
            boxes = self._refine(photo, self._propose(photo))
        boxes, crops = _cut(photo, boxes, SIDES[1])
        if not len(boxes):
            return boxes, photo.new_zeros(0)
        moves, _, probabilities = self.onet(crops)
        return bbreg(boxes, moves.detach()), probabilities[:, 1]

    def _propose(self, photo: Tensor) -> Boxes:
        """Return square boxes by the first network, on a pyramid of the photo."""
        height, width = photo.shape[-2:]
        scale, found = CELL / self.least_face, [photo.new_zeros(0, 9)]
        while min(height, width) * scale >= CELL:
            reduced = imresample(photo[None], (int(height * scale + 1), int(width * scale + 1)))
            moves, probabilities = self.pnet(_normalize(reduced))
            boxes, _ = generateBoundingBox(moves, probabilities[:, 1], scale, self.first)
            found.append(boxes[nms(boxes[:, :4], boxes[:, 4], FIRST_OVERLAP)])
            scale *= self.factor
        boxes = torch.cat(found)
        boxes = boxes[nms(boxes[:, :4], boxes[:, 4], OVERLAP)]
        sides = (boxes[:, 2:4] - boxes[:, :2]).repeat(1, 2)
        moved: Tensor = rerec(boxes[:, :4] + boxes[:, 5:] * sides)
        return moved

    def _refine(self, photo: Tensor, boxes: Boxes) -> Boxes:
        """Return those boxes that the second network takes for faces, moved by it, and square."""
        boxes, crops = _cut(photo, boxes, SIDES[0])
        if not len(boxes):
            return boxes
        moves, probabilities = self.rnet(crops)
        passed = (probabilities[:, 1] > self.second).nonzero()[:, 0]
        kept = passed[nms(boxes[passed], probabilities[passed, 1], OVERLAP)]
        refined: Tensor = rerec(bbreg(boxes[kept], moves[kept]))
        return refined


def load_mtcnn(uri: ModelUri) -> Loaded:
    """Load `mtcnn:faces` as a network with gradients, on whole photos that are brought to one size.

    Raises:
        UserError: another name, no size, or an option is wrong.
    """
    if uri.rest != WEIGHTS:
        raise UserError(f"model {uri.text!r}: write mtcnn:{WEIGHTS}?size=640")
    if "size" not in uri.options:
        raise UserError(
            f"model {uri.text!r}: to guide, MTCNN needs the size that photos are brought to: add ?size=640; faces of "
            f"less than {detector().min_face_size} pixels there are not found"
        )
    found = found_score(uri, MIN_PROBABILITY)
    plain = Preprocess(fit="letterbox", interpolation="bilinear", mean=(0.0,) * 3, std=(1.0,) * 3)
    net = detector()
    return Loaded(
        Detector(MtcnnCascade(), lambda candidates, _height, _width: candidates, found, OVERLAP),
        plain,
        {**detector_record(uri, ("face",)), **CARD},
        sha256=parameters_sha256(net),
        weights=fingerprint(net.state_dict().values()),
    )


def load_mtcnn_judge(uri: ModelUri) -> BlackBox | Loaded:
    """Load `mtcnn:faces` as a judge: at the photo's own size, or at one size as where it guides.

    Raises:
        UserError: see `load_mtcnn` and `MtcnnJudge`.
    """
    return load_mtcnn(uri) if "size" in uri.options else MtcnnJudge(uri)


def _cut(photo: Tensor, boxes: Boxes, side: int) -> tuple[Boxes, Tensor]:
    """Return the boxes that are not outside a photo, and the (N,3,side,side) input of a network at them."""
    edges = zip(*pad(boxes.detach().clone(), photo.shape[-1], photo.shape[-2]), strict=True)
    inside, crops = [], [photo.new_zeros(0, 3, side, side)]
    for index, (top, bottom, left, right) in enumerate(edges):
        if bottom > top - 1 and right > left - 1:
            inside.append(index)
            crops.append(imresample(photo[None, :, top - 1 : bottom, left - 1 : right], (side, side)))
    return boxes[inside], _normalize(torch.cat(crops))


def _normalize(pixels: Tensor) -> Tensor:
    """Return pixels in [0,255] as the networks take them."""
    return (pixels - 127.5) / 128
