"""`Protector`: the package in a few lines of Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from onlymymodel.data.choices import Metadata
from onlymymodel.data.folder import check_destination, scan
from onlymymodel.data.image_input import Picture, picture_bytes
from onlymymodel.data.image_io import decode
from onlymymodel.data.labels import read_labels
from onlymymodel.data.pixels import to_tensor
from onlymymodel.data.source import open_source
from onlymymodel.errors import UserError, number_of
from onlymymodel.evaluate.channels import get_channels
from onlymymodel.evaluate.folders import Evaluation, evaluate_folders
from onlymymodel.evaluate.judges import check_independence, judges_for
from onlymymodel.evaluate.results import Results
from onlymymodel.presets.preset import load_preset
from onlymymodel.protect.attack.external import Attack
from onlymymodel.protect.attack.external_load import LoadedAttack, load_attack
from onlymymodel.protect.attack.recipe import Recipe
from onlymymodel.protect.batches import protect_batch
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.protect.choices import Faces, Format, NoFace
from onlymymodel.protect.context import Context, PhotoSource
from onlymymodel.protect.folder import Job, Summary, protect_folder
from onlymymodel.protect.known import check_known, check_known_bytes
from onlymymodel.protect.limits import Limits
from onlymymodel.protect.memory_limit import DEFAULT as DEFAULT_MEMORY
from onlymymodel.protect.memory_limit import MemorySize
from onlymymodel.protect.photo import BATCH_SIZE
from onlymymodel.protect.places import opened_places
from onlymymodel.protect.protected_photo import ProtectedPhoto, ProtectedTensors
from onlymymodel.protect.region import Region
from onlymymodel.protect.seal import seal_folder
from onlymymodel.protector_models import (
    HeldOut,
    Model,
    budget_settings,
    class_index,
    load_classifier,
    load_judge,
    name_of,
    recipe_settings,
    recorded_uri,
    with_objects,
    worker_settings,
)
from onlymymodel.runtime import configure, pick_device
from onlymymodel.settings import RunSettings
from onlymymodel.settings_partial import PartialSettings
from onlymymodel.surrogates.class_mapping import classes_of_labels
from onlymymodel.surrogates.deployments import get_deployments

COMMAND = "Protector.evaluate"  # in the records of an evaluation
Labels: TypeAlias = Mapping[str, int] | Path | str


class Protector:
    """Protects photos for one authorized model.

    Models are URIs (`omm models` lists the kinds), classifiers that `load_model` returned, or networks of your own in
    `wrap_network`. They are loaded once, and moved to the device. Settings that are None are those of the preset or,
    without one, those of `omm protect`.

    Args:
        preset: name of a bundled run file, see `onlymymodel.presets.preset`; what is given besides takes its place.
        authorized: the model that must still read the photos.
        surrogates: models that stand in for unknown ones.
        heldout: models that only judge, in `evaluate`.
        gallery: folder with one folder of photos for each person, for models that recognize people.
        strength: `low`, `medium`, `high` or `auto`: how visible the change may be, see `omm protect --help`.
        epsilon: largest change of any channel of any pixel, in 1/255; in place of a strength.
        budget: all bounds on the change; in place of a strength and an epsilon.
        recipe: name of a recipe, or a recipe.
        attack: an attack from outside in place of the optimizer, see `onlymymodel.Attack`.
        region: `image`, `face`, or the path of a mask or of a folder of masks.
        no_face: what is done with a photo without a face.
        faces: which faces of a photo are protected.
        format: of the files: `png` or `webp`, both lossless.
        metadata: what the files keep of EXIF: `keep` all that is harmless, `no-location`, or `none`.
        memory: what the process may take in all, such as `8GiB`, or a share of what is free, such as `60%`; photos that
            need more are skipped before they are decoded.
        time_limit: seconds that a photo may take; one that takes longer is failed. None for any time.
        device: where the models run; `auto`: the first accelerator that is found, or else the CPU.
        allow_python: whether URIs and attacks `python:module:factory` may run code.

    Raises:
        UserError: a setting is out of its range, or a model cannot be loaded or cannot have its role.
    """

    def __init__(
        self,
        *,
        preset: str | None = None,
        authorized: Model | None = None,
        surrogates: Sequence[Model] = (),
        heldout: Sequence[HeldOut] = (),
        gallery: Path | str | None = None,
        strength: str | None = None,
        epsilon: float | None = None,
        budget: Budget | None = None,
        recipe: str | Recipe | None = None,
        attack: str | Attack | None = None,
        region: Path | str | None = None,
        no_face: NoFace | None = None,
        faces: Faces | None = None,
        format: Format | None = None,
        metadata: Metadata | None = None,
        memory: str = DEFAULT_MEMORY,
        time_limit: float | None = None,
        device: str = "auto",
        allow_python: bool = False,
    ) -> None:
        configure()
        self._objects = [given for given in (authorized, *surrogates, attack) if not isinstance(given, str | None)]
        size = MemorySize.parse(memory)
        if time_limit is not None and not time_limit > 0:
            raise UserError(f"a limit of time is above 0 seconds, not {time_limit:g}")
        loaded = None
        if isinstance(attack, Attack):
            loaded, attack = LoadedAttack.of(attack), None
        given = PartialSettings(
            authorized=None if authorized is None else name_of(authorized),
            surrogates=tuple(map(name_of, surrogates)),
            heldout=tuple(map(name_of, heldout)),
            gallery=None if gallery is None else str(gallery),
            recipe=recipe_settings(recipe, attack if loaded is None else loaded.name),
            region=None if region is None else str(region),
            no_face=no_face,
            faces=faces,
            format=format,
            metadata=metadata,
            **budget_settings(budget, strength, epsilon),
        )
        settings = (given if preset is None else given.over(load_preset(preset))).complete()
        settings.check_models()
        if loaded is None and settings.recipe.attack:
            loaded = load_attack(settings.recipe.attack, allow_python=allow_python)
        self._device, self._allow_python = pick_device(device), allow_python
        self._heldout = with_objects(settings.heldout, heldout)
        self._models = [
            *with_objects([settings.authorized], [] if authorized is None else [authorized]),
            *with_objects(settings.surrogates, surrogates),
        ]
        classifiers = [load_classifier(model, self._device, allow_python) for model in self._models]
        self.context: Context = settings.context(classifiers[0], classifiers[1:], loaded)
        self.settings: RunSettings = replace(settings, recipe=self.context.recipe)  # for workers: with its precision
        self.limits = Limits.of(self.context, size, time_limit)

    def protect(
        self, picture: Picture, *, label: int | str | None = None, mask: Picture | None = None
    ) -> ProtectedPhoto:
        """Protect one photo.

        Args:
            picture: a path, the bytes of a file, a Pillow image, an array or a tensor, see
                `onlymymodel.data.image_input.picture_bytes`.
            label: class that the authorized model has to keep, by its index or name; its own answer to the original if
                None.
            mask: a picture of the same size; what is dark in it does not change.

        Raises:
            UserError: the file cannot be read, the object is no picture or the class is unknown; or the authorized
                model is a bundled one that does not know such pictures. What is wrong with a photo's content is its
                status and reason instead.
        """
        data = picture_bytes(picture, self.context.max_pixels)
        check_known_bytes(self.context, [data], self.limits)
        context = self.context
        if mask is not None:
            context = replace(context, region=Region("mask", context.region.no_face, context.region.faces))
        drawn = None if mask is None else picture_bytes(mask, self.context.max_pixels)
        photo = PhotoSource(data, self._index_of(label), drawn)
        ((file, record),) = protect_batch([photo], context, None, 1, self.limits)
        return ProtectedPhoto(file, record)

    def protect_batch(self, pixels: Tensor, labels: Tensor | Sequence[int] | None = None) -> ProtectedTensors:
        """Protect a batch of photos of one size, as a `DataLoader` yields them.

        Random numbers depend on the photo alone; rounding errors depend on the number of photos in the batch, unless
        `make_portable` was called.

        Args:
            pixels: (B,C,H,W) uint8, C 3 (RGB) or 1 (gray), on any device.
            labels: (B,) classes that the authorized model has to keep; its own answers to the originals if None.

        Raises:
            UserError: the tensors have other shapes or types; see `protect`.
        """
        if pixels.ndim != 4 or pixels.shape[1] not in (1, 3) or pixels.dtype != torch.uint8:
            raise UserError(
                "a batch is a (B,3,H,W) or (B,1,H,W) uint8 tensor, not "
                f"{tuple(pixels.shape)} {str(pixels.dtype).removeprefix('torch.')}"
            )
        if labels is not None and len(labels) != len(pixels):
            raise UserError(f"{number_of(len(labels), 'label')} for {number_of(len(pixels), 'photo')}")
        classes = [None] * len(pixels) if labels is None else [self._index_of(int(label)) for label in labels]
        data = [picture_bytes(photo) for photo in pixels]
        check_known_bytes(self.context, data, self.limits)
        sources = [PhotoSource(*pair) for pair in zip(data, classes, strict=True)]
        results = protect_batch(sources, self.context, None, BATCH_SIZE, self.limits) if sources else []
        protected = pixels.clone()
        for row, (file, _) in enumerate(results):
            if file is not None:
                protected[row] = to_tensor(decode(file).pixels)[: pixels.shape[1]].to(pixels.device)
        written = torch.tensor([file is not None for file, _ in results], dtype=torch.bool, device=pixels.device)
        return ProtectedTensors(protected, written, tuple(record for _, record in results))

    def protect_folder(
        self,
        source: Path | str,
        out: Path | str,
        *,
        labels: Labels | None = None,
        batch_size: int = 8,
        workers: int = 1,
        checksum: bool = False,
        progress: bool = False,
    ) -> Summary:
        """Protect every photo below a folder, as `omm protect` does; a run that was stopped is resumed.

        Args:
            source: a folder of photos, or one photo, also of a store (`s3://bucket/photos`); it is never changed.
            out: a new folder, or that of an earlier, unfinished run with the same settings; also of a store.
            labels: class index of each photo by its path below the source, or a CSV with the columns `file` and
                `label`; the label of any other photo is the authorized model's answer.
            batch_size: number of photos that are optimized together.
            workers: processes; several load models by their URIs, and a script needs `if __name__ == "__main__":`.
            checksum: whether photos and results that have not changed since an earlier run are read again.
            progress: whether a progress bar is shown.

        Raises:
            UserError: see `onlymymodel.protect.folder.protect_folder`; or the authorized model is a bundled one that
                does not know such pictures.
        """
        processes = worker_settings(workers, self.settings, self._objects, self._allow_python)
        limits = self.limits if processes is None else self.limits.shared_by(processes.count)
        with opened_places(source, out, checksum=checksum) as places:
            entries = scan(places.source, f".{self.context.format}", self.context.exclude, places.store.sources)
            photos = [entry for entry in entries if entry.status == "photo"]
            check_known(self.context, [entry.file for entry in photos], limits)
            authorized, *surrogates = [recorded_uri(model, places.store.base) for model in self._models]
            job = Job(
                source=places.source,
                out=places.out,
                context=self.context,
                uris={"authorized": authorized, "surrogates": surrogates},
                labels=self._labels(labels, [str(entry.relative) for entry in photos]) or {},
                masks=self.settings.masks,
                batch_size=batch_size,
                workers=processes,
                limits=limits,
                results=places.store,
                scanned=entries,
            )
            summary = protect_folder(job, progress=progress)
            seal_folder(places.out)
            places.store.finish_records()
            return summary

    def evaluate(
        self,
        source: Path | str,
        protected: Path | str | Sequence[Path | str],
        out: Path | str,
        *,
        heldout: Sequence[HeldOut] | None = None,
        labels: Labels | None = None,
        channels: Sequence[str] = ("png",),
        deployments: Sequence[str] = (),
        progress: bool = False,
    ) -> Results:
        """Ask all models about originals and protected files, as `omm evaluate` does.

        Args:
            source: the originals: a folder, one photo, or Parquet files with rows of pictures.
            protected: a folder of protected photos, or several, by `protect_folder` or another tool.
            out: folder for `results.json`, the tables and the page.
            heldout: models that took no part, as judges; those of the protector if None.
            labels: see `protect_folder`; by default the recorded ones.
            channels: what happens to the files before they are read, see `omm evaluate --help`.
            deployments: how else models may be deployed, see `omm evaluate --help`.
            progress: whether a progress bar is shown.

        Raises:
            UserError: see `onlymymodel.evaluate.folders.evaluate_folders`.
        """
        originals, out = open_source(Path(source)), Path(out)
        folders = [protected] if isinstance(protected, str | Path) else protected
        others = self._heldout if heldout is None else heldout
        judges = judges_for(self.context, [load_judge(model, self._device, self._allow_python) for model in others])
        check_independence(judges)
        photos = [str(entry.relative) for entry in scan(originals) if entry.status == "photo"]
        evaluation = Evaluation(
            source=originals,
            protected=tuple(map(Path, folders)),
            judges=tuple(judges),
            labels=self._labels(labels, photos),
            channels=(*get_channels(channels), *(get_deployments(deployments) if deployments else ())),
        )
        check_destination(originals, out)
        return evaluate_folders(evaluation, out, command=COMMAND, device=self._device, progress=progress)

    def _index_of(self, label: int | str | None) -> int | None:
        return None if label is None else class_index(label, self.context.authorized.card)

    def _labels(self, labels: Labels | None, photos: Sequence[str]) -> Mapping[str, int] | None:
        """Return the labels of photos, which may be in a table.

        Raises:
            UserError: the table is wrong.
        """
        if not isinstance(labels, str | Path):
            return labels
        card = self.context.authorized.card
        return read_labels(Path(labels), photos=photos, classes=card.labels or None, n_classes=classes_of_labels(card))
