"""Margins of the authorized model as its deployments read a photo: by the real codecs, and their gradients."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from onlymymodel.data.pixels import to_array
from onlymymodel.data.processing import longest_side
from onlymymodel.data.time_limit import check_time
from onlymymodel.protect.attack.differentiable_channels import differentiable_step
from onlymymodel.protect.attack.processed import ProcessedPhoto
from onlymymodel.surrogates.classifier import Classifier, ModelCard
from onlymymodel.surrogates.deployments import Deployment, get_deployments
from onlymymodel.surrogates.detector import Detections
from onlymymodel.surrogates.device_copy import to_device
from onlymymodel.surrogates.kept_objects import crop_margins
from onlymymodel.surrogates.object_matches import mirror_boxes
from onlymymodel.surrogates.readings import canvas_map, crop_canvas, read_input

BATCH = 16  # inputs of the network at a time
# of kappa: the margin up to which repair raises each deployment's, so that another machine's codec or rounding does not
# lose it; the verdict asks for a positive one
SHARE_OF_KAPPA = 0.1


def readable(margins: Mapping[str, float]) -> tuple[str, ...]:
    """Return the deployments through which the authorized model reads a photo: those whose margin is positive."""
    return tuple(name for name, margin in margins.items() if margin > 0)


class DeployedMargins:
    """The margins of the authorized model at a label, as some of its deployments read a photo.

    Args:
        authorized: the model.
        names: of `DEPLOYMENTS`, without those that do not apply, see `_applies`.
        objects: those of the photo that a detector has to keep.
    """

    def __init__(self, authorized: Classifier, names: Sequence[str], objects: Detections | None = None) -> None:
        self.authorized, self.objects = authorized, objects
        chosen = get_deployments(names) if names else []
        self.deployments = {
            deployment.name: deployment for deployment in chosen if _applies(deployment, authorized.card)
        }

    def measure(
        self, pixels: Tensor, label: int, names: Iterable[str] | None = None, landmarks: Tensor | None = None
    ) -> dict[str, float]:
        """Return the margin through each deployment, in logits.

        Args:
            pixels: (C,H,W) uint8.
            label: class index.
            names: of the deployments; all by default. Those whose codec does not hold so large a photo are left out.
            landmarks: (5,2) of the face in pixels, for a model that aligns faces; detected, in what each deployment
                makes of the photo, if None.
        """
        return self.measure_faces(pixels, [(label, landmarks)], names)[0]

    @torch.inference_mode()
    def measure_faces(
        self, pixels: Tensor, faces: Sequence[tuple[int, Tensor | None]], names: Iterable[str] | None = None
    ) -> list[dict[str, float]]:
        """Return the margins of several faces of a photo, which each deployment processes once.

        Args:
            pixels: (C,H,W) uint8.
            faces: label and landmarks of each, see `measure`.
            names: see `measure`.
        """
        asked = [
            deployment
            for deployment in (self.deployments.values() if names is None else map(self.deployments.__getitem__, names))
            if max(pixels.shape[1:]) <= longest_side(deployment.options.get("codec"))
        ]
        margins: list[dict[str, float]] = [{} for _ in faces]
        if not asked or not faces:
            return margins
        image, preprocess = to_array(pixels), self.authorized.card.preprocess
        for start in range(0, len(asked), BATCH):
            part = asked[start : start + BATCH]
            crops = []
            for deployment in part:
                check_time()
                processed = deployment.apply(image)
                for _, landmarks in faces:
                    points = None if landmarks is None else _scale(landmarks, image.shape, processed.shape)
                    crops.append(read_input(processed, preprocess, deployment.reading, points))
            rows = [(deployment, number) for deployment in part for number in range(len(faces))]
            for first in range(0, len(rows), BATCH):
                chunk = rows[first : first + BATCH]
                inputs = to_device(torch.cat(crops[first : first + BATCH]), pixels.device)
                labels = [faces[number][0] for _, number in chunk]
                values = self._margins(inputs, [deployment for deployment, _ in chunk], labels).tolist()
                for (deployment, number), value in zip(chunk, values, strict=True):
                    margins[number][deployment.name] = value
        return margins

    def add_gradient(
        self, pixels: Tensor, label: int, names: Iterable[str], total: Tensor, landmarks: Tensor | None = None
    ) -> None:
        """Add the gradient of the sum of the margins, through differentiable versions of the codecs, to `total`.

        Args:
            pixels: (C,H,W) uint8.
            label: class index.
            names: at least one, of the deployments.
            total: (1,C,H,W) floats.
            landmarks: see `measure`.
        """
        photo, preprocess = pixels[None], self.authorized.card.preprocess
        asked = [self.deployments[name] for name in names]
        for start in range(0, len(asked), BATCH):
            part = asked[start : start + BATCH]
            read, canvases = [], []
            for deployment in part:
                processed = _process(photo, deployment).pixels()
                points = None if landmarks is None else _scale(landmarks, photo.shape[-2:], processed.shape[-2:])
                read.append(canvas_map(processed, preprocess, deployment.reading, points))
                with torch.no_grad():
                    canvases.append(read[-1](processed))
                del processed  # of a large photo
            leaves = [canvas.requires_grad_() for canvas in canvases]
            crops = [
                crop_canvas(canvas, preprocess, deployment.reading)
                for canvas, deployment in zip(leaves, part, strict=True)
            ]
            gradients = torch.autograd.grad(self._margins(torch.cat(crops), part, [label] * len(part)).sum(), leaves)
            # from the last to the first, as autograd would for the whole batch
            for deployment, to_canvas, gradient in reversed(list(zip(part, read, gradients, strict=True))):
                check_time()
                _process(photo, deployment).add_gradient(to_canvas, gradient, total)

    def _margins(self, crops: Tensor, deployments: Sequence[Deployment], classes: Sequence[int]) -> Tensor:
        low = [deployment.reading.precision == "bfloat16" for deployment in deployments]
        labels = to_device(torch.tensor(classes), crops.device)
        rows = torch.zeros(len(crops), device=crops.device)
        for precision in sorted(set(low)):
            places = [place for place, entry in enumerate(low) if entry is precision]
            chosen = to_device(torch.tensor(places), crops.device)
            asked = [deployments[place] for place in places]
            with torch.autocast(crops.device.type, torch.bfloat16, enabled=precision):
                margins = crop_margins(self.authorized, crops[chosen], labels[chosen], self._objects(asked))
            rows = rows.index_copy(0, chosen, margins.float())
        return rows

    def _objects(self, deployments: Sequence[Deployment]) -> list[Detections] | None:
        """Return the objects as each deployment sees them."""
        if self.objects is None:
            return None
        return [mirror_boxes(self.objects) if one.reading.mirror else self.objects for one in deployments]


def _applies(deployment: Deployment, card: ModelCard) -> bool:
    """Return whether a deployment is promised of a model: its reading makes a difference, and moves no objects' boxes.

    A model that aligns faces sees no crop. A detector sees the whole photo; a letterbox is read in one way, but for a
    mirror, which boxes follow.
    """
    reading, fit = deployment.reading, card.preprocess.fit
    if fit == "align":
        return bool(deployment.step) or reading.moves_faces
    if card.kind != "detector":
        return True
    if reading.moves_boxes:
        return False
    return bool(deployment.step) or reading.mirror or reading.precision != "float32" or fit != "letterbox"


def not_promised(card: ModelCard, names: Sequence[str]) -> list[str]:
    """Return those of some deployments that the promise of a detector leaves out, since objects' boxes would move."""
    if card.kind != "detector" or not names:
        return []
    return [deployment.name for deployment in get_deployments(names) if deployment.reading.moves_boxes]


def _process(photo: Tensor, deployment: Deployment) -> ProcessedPhoto:
    return ProcessedPhoto(photo, differentiable_step(deployment.step, deployment.options))


def _scale(landmarks: Tensor, before: Sequence[int], after: Sequence[int]) -> Tensor:
    """Return (5,2) landmarks of a photo of one height and width as (1,5,2) of another."""
    return landmarks[None] * torch.tensor([after[1] / before[1], after[0] / before[0]])
