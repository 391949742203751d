"""What `omm audit ...` and `omm protect-representation` do with their arguments."""

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.audit import audit_release
from onlymymodel.evaluate.audits.audit_plots import epochs_plot, layer_plot
from onlymymodel.evaluate.audits.gradients import gradient_reports
from onlymymodel.evaluate.audits.intermediate import LayerAdversary, LayerRelease
from onlymymodel.evaluate.audits.layer_epochs import over_epochs
from onlymymodel.evaluate.audits.networks import Kind, as_answered, small_network, train_network
from onlymymodel.evaluate.audits.page import PAGE, Plot, Section, to_markdown, write_audits
from onlymymodel.evaluate.audits.pictures import Pictures, digit_pictures, folder_pictures, portrait_pictures, small
from onlymymodel.evaluate.audits.representation import (
    RepresentationRelease,
    new_decoder,
    representation_reports,
    trained_on,
)
from onlymymodel.evaluate.audits.representation_plot import privacy_plot
from onlymymodel.evaluate.audits.weights import weights_report
from onlymymodel.evaluate.protected_folder import open_folders, read_photo
from onlymymodel.protect.representation import RepresentationSettings
from onlymymodel.protect.representation_export import save
from onlymymodel.runtime import environment, pick_device
from onlymymodel.surrogates.load import load_model

OK = 0
PORTRAITS = 240  # rendered where no folder is given
TRAINED_ON = 0.5  # share of the people, or of the pictures, that a network is trained on here
DRAWN = 600  # pictures that a small network is trained on before its gradients are audited


def gradients(arguments: argparse.Namespace) -> int:
    """`omm audit gradients`."""
    pictures = _pictures(arguments.photos, arguments)
    network = _network(arguments, pictures)
    if arguments.model:
        pictures = as_answered(network, pictures)
    pictures = pictures.take(range(min(arguments.limit, len(pictures))))
    originals = None
    if arguments.protected is not None:
        originals = pictures.pixels
        pictures = replace(pictures, pixels=_protected(arguments, pictures))
    reports = gradient_reports(
        network,
        pictures,
        attacks=arguments.attacks,
        defenses=arguments.defenses,
        mode=arguments.mode,
        batch=arguments.batch,
        originals=originals,
        lpips=arguments.lpips,
        seed=arguments.seed,
        progress=not arguments.quiet,
    )
    return _write(arguments, [Section(report) for report in reports])


def intermediate(arguments: argparse.Namespace) -> int:
    """`omm audit intermediate`."""
    progress = not arguments.quiet
    pictures = _pictures(arguments.photos, arguments)
    if arguments.model:
        members = None if arguments.members is None else _pictures(arguments.members, arguments)
        name, network, others, sections = arguments.model, _network(arguments, pictures), pictures, []
    else:
        members, others = _halves(pictures, arguments.seed)
        name = f"small {arguments.network}"
        network = _small(arguments, pictures)
        epochs = sorted({round(arguments.epochs * share / 4) for share in range(5)})
        over = over_epochs(network, members, others, epochs=epochs, name=name, seed=arguments.seed, progress=progress)
        sections = [Section(over, (Plot(epochs_plot(over), "Every layer over the epochs of training"),))]
    release = LayerRelease(name, network, others, members, tuple(arguments.layers), arguments.most_layers)
    report = audit_release(release, LayerAdversary(steps=arguments.steps, seed=arguments.seed), progress=progress)
    plot = Plot(layer_plot(report), "Figures without an attack, and what an adversary got, layer by layer")
    return _write(arguments, [Section(report, (plot,)), *sections])


def weights(arguments: argparse.Namespace) -> int:
    """`omm audit weights`."""
    pictures = _pictures(arguments.photos, arguments)
    if arguments.others is not None:
        members, others = pictures, _pictures(arguments.others, arguments)
    elif arguments.model:
        raise UserError("say which pictures the model was not trained on: --others FOLDER")
    else:
        members, others = pictures.split(min(arguments.limit, len(pictures) // 2), arguments.seed)
    subject: Kind | nn.Module = arguments.network
    by_answers = False
    if arguments.model:
        subject = _network(arguments, members)
        answered = [as_answered(subject, side) for side in (members, others)]
        by_answers = [side.classes for side in answered] != [members.classes, others.classes]
        members, others = answered if by_answers else (members, others)
    else:
        _check_classes(members)
    report = weights_report(
        subject,
        members,
        others,
        steps=arguments.steps,
        epochs=arguments.epochs,
        seed=arguments.seed,
        progress=not arguments.quiet,
        by_answers=by_answers,
    )
    return _write(arguments, [Section(report)])


def representation(arguments: argparse.Namespace) -> int:
    """`omm audit representation`."""
    public, private = _by_person(arguments)
    reports = representation_reports(
        public,
        private,
        arguments.weights,
        embedder=load_model(arguments.embedder, allow_python=arguments.allow_python),
        settings=RepresentationSettings(steps=arguments.steps, seed=arguments.seed),
        progress=not arguments.quiet,
    )
    plot = Plot(privacy_plot(reports), "What the task and what a new decoder get, lambda by lambda")
    first, *rest = reports
    return _write(arguments, [Section(first, (plot,)), *map(Section, rest)])


def protect_representation(arguments: argparse.Namespace) -> int:
    """`omm protect-representation`."""
    progress = not arguments.quiet
    public, private = _by_person(arguments)
    settings = RepresentationSettings(weight=arguments.weight, steps=arguments.steps, seed=arguments.seed)
    embedder = load_model(arguments.embedder, allow_python=arguments.allow_python)
    defence = trained_on(public, settings, progress=progress)
    card = save(defence, arguments.out)
    print(f"encoder, head and what they are: {card} and beside it")
    judge = new_decoder(public, embedder=embedder, settings=settings, progress=progress)
    report = audit_release(RepresentationRelease(defence, private), judge, progress=progress)
    return _write(arguments, [Section(report)])


def _by_person(arguments: argparse.Namespace) -> tuple[Pictures, Pictures]:
    """Pictures to train on, and pictures of other people to judge on.

    Raises:
        UserError: fewer than two people, or people who are classes of the task themselves.
    """
    pictures = _pictures(arguments.photos, arguments)
    public, private = pictures.by_group(arguments.public, arguments.seed)
    if not len(private) or not set(private.labels.tolist()) <= set(public.labels.tolist()):
        raise UserError(
            "the judge needs pictures of people whom nobody trained on, for the same task: sort PHOTOS as "
            "CLASS/PERSON/photo, with several people of every class"
        )
    return public, private


def _pictures(photos: Path | None, arguments: argparse.Namespace) -> Pictures:
    """The user's photos, or what comes without a download."""
    if photos is not None:
        return folder_pictures(photos, arguments.size)
    if arguments.pictures == "digits":
        return digit_pictures(arguments.size)
    return portrait_pictures(PORTRAITS, arguments.size, task=arguments.task, seed=arguments.seed)


def _network(arguments: argparse.Namespace, pictures: Pictures) -> nn.Module:
    """The model that is named, or a small one, trained here for as many epochs as are asked for."""
    if arguments.model:
        device = pick_device(arguments.device)
        return load_model(arguments.model, allow_python=arguments.allow_python, device=device)
    network = _small(arguments, pictures)
    if arguments.epochs:
        known, _ = pictures.split(min(DRAWN, len(pictures) // 2), arguments.seed)
        train_network(network, known, epochs=arguments.epochs, seed=arguments.seed, progress=not arguments.quiet)
    return network


def _check_classes(pictures: Pictures) -> None:
    """Raise UserError where a small network would have nothing to tell apart."""
    if pictures.classes < 2:
        raise UserError(
            "a small network learns to tell classes apart: sort PHOTOS as CLASS/photo with two classes or more, or "
            "name a --model"
        )


def _small(arguments: argparse.Namespace, pictures: Pictures) -> nn.Module:
    _check_classes(pictures)
    channels = pictures.pixels.shape[1]
    try:
        return small_network(arguments.network, channels, arguments.size, pictures.classes, seed=arguments.seed)
    except ValueError as error:
        raise UserError(f"--network {arguments.network} --size {arguments.size}: {error}") from error


def _halves(pictures: Pictures, seed: int) -> tuple[Pictures, Pictures]:
    """What a network is trained on, and as much that it is not: pictures drawn alike."""
    return pictures.split(round(TRAINED_ON * len(pictures)), seed)


def _protected(arguments: argparse.Namespace, pictures: Pictures) -> Tensor:
    """(N,3,S,S) protected versions of the pictures."""
    if arguments.photos is None:
        raise UserError("--protected is a folder with protected versions of PHOTOS; name PHOTOS too")
    _, (folder,) = open_folders(arguments.photos, [arguments.protected])
    files = [folder.files.get(name) for name in pictures.names]
    missing = [name for name, file in zip(pictures.names, files, strict=True) if file is None]
    if missing:
        raise UserError(f"{arguments.protected} has no protected version of {missing[0]}")
    return torch.stack([small(read_photo(file), arguments.size) for file in files if file is not None])


def _write(arguments: argparse.Namespace, sections: Sequence[Section]) -> int:
    """Files and terminal."""
    header = {"command": shlex.join(["omm", *arguments.words]), "environment": environment(torch.device("cpu"))}
    title = f"omm audit {arguments.audit}" if arguments.command == "audit" else f"omm {arguments.command}"
    write_audits(arguments.out, sections, title=title, header=header)
    print(to_markdown([section.report for section in sections]))
    print(f"with pictures: {arguments.out / PAGE}")
    return OK
