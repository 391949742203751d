"""The work of `omm audit` and `omm protect-representation`."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from onlymymodel.cli.recorded_command import recorded_command
from onlymymodel.data.celeba_identities import identity_table, read_identities
from onlymymodel.data.datasets import attributes_for, open_dataset
from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.decision import Decision
from onlymymodel.evaluate.audits.gradients.decision import Cost, gradient_decision
from onlymymodel.evaluate.audits.gradients.defenses import parse_defense
from onlymymodel.evaluate.audits.gradients.plot import CAPTION, trajectory_plot
from onlymymodel.evaluate.audits.gradients.reports import gradient_reports
from onlymymodel.evaluate.audits.gradients.utility import federated_accuracy
from onlymymodel.evaluate.audits.layers.audit import LayerAdversary
from onlymymodel.evaluate.audits.layers.decision import layer_decision
from onlymymodel.evaluate.audits.layers.epochs import epochs_report
from onlymymodel.evaluate.audits.layers.layers import choose_layers
from onlymymodel.evaluate.audits.layers.plots import epochs_plot, layer_plot
from onlymymodel.evaluate.audits.layers.release import LayerRelease
from onlymymodel.evaluate.audits.networks import label_by_network, small_network, train_network
from onlymymodel.evaluate.audits.options import NetworkKind, RepresentationSettings
from onlymymodel.evaluate.audits.page import JSON, PAGE, Plot, Section, to_markdown, write_audits
from onlymymodel.evaluate.audits.pictures import (
    Pictures,
    digit_pictures,
    folder_pictures,
    portrait_pictures,
    resize_and_crop,
    with_attributes,
)
from onlymymodel.evaluate.audits.report import audit_release
from onlymymodel.evaluate.audits.representation.audit import (
    RepresentationRelease,
    make_adversary,
    representation_reports,
    train_defense,
)
from onlymymodel.evaluate.audits.representation.decision import representation_decision
from onlymymodel.evaluate.audits.representation.defense import MakeEncoder
from onlymymodel.evaluate.audits.representation.export import save
from onlymymodel.evaluate.audits.representation.networks import BackboneEncoder
from onlymymodel.evaluate.audits.representation.plot import privacy_plot
from onlymymodel.evaluate.audits.weights.audit import weights_report
from onlymymodel.evaluate.audits.weights.decision import weights_decision
from onlymymodel.evaluate.protected_folder import open_folders, read_photo
from onlymymodel.evaluate.text import replace_unprintable
from onlymymodel.runtime import environment, pick_device
from onlymymodel.surrogates.load import load_model

PORTRAITS = 240  # rendered if no folder is given
DRAWN_PORTRAITS, DRAWN_PEOPLE = 720, 60  # the same for representations, which are for people nobody has seen
TRAIN_SHARE = 0.5  # of the pictures, on which a small network is trained before its layers are audited
COST_SHARE = 2 / 3  # of the pictures, on which the cost of a defense is measured
TRAIN_LIMIT = 600  # pictures on which a small network is trained before its gradients are audited


def gradients(arguments: argparse.Namespace) -> int:
    """`omm audit gradients`."""
    whole = pictures = _pictures(arguments.photos, arguments)
    network = _network(arguments, pictures)
    labeled_by_network = False
    if arguments.model:
        answered = label_by_network(network, pictures)
        labeled_by_network = answered.classes != pictures.classes
        pictures = answered if labeled_by_network else pictures
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
        local_steps=arguments.local_steps,
        local_rate=arguments.local_rate,
        restarts=arguments.restarts,
        originals=originals,
        lpips=arguments.lpips,
        labeled_by_network=labeled_by_network,
        seed=arguments.seed,
    )
    decision = gradient_decision(reports, _cost(arguments, network, whole))
    plots = [(Plot(trajectory_plot(report), CAPTION),) if report.series else () for report in reports]
    return _write(arguments, decision, list(map(Section, reports, plots)))


def intermediate(arguments: argparse.Namespace) -> int:
    """`omm audit intermediate`."""
    sections: list[Section] = []
    pictures = _pictures(arguments.photos, arguments)

    def make(seed: int) -> nn.Module:
        return _small(arguments, pictures, seed)

    def retrain(trained_on: Pictures, seed: int) -> nn.Module:
        shadow = make(seed)
        train_network(shadow, trained_on, epochs=arguments.epochs, seed=seed, progress=False)
        return shadow

    if arguments.model:
        members = None if arguments.members is None else _pictures(arguments.members, arguments)
        name, network, others = arguments.model, _network(arguments, pictures), pictures
    else:
        members, others = _halves(pictures, arguments.seed)
        name = f"small {arguments.network}"
        if arguments.over_epochs:
            epochs = sorted({round(arguments.epochs * share / 4) for share in range(5)})
            seeds = range(arguments.seed, arguments.seed + arguments.seeds)
            over, network = epochs_report(make, members, others, epochs=epochs, seeds=seeds, name=name)
            sections = [Section(over, (Plot(epochs_plot(over), "Every layer over the epochs of training"),))]
        else:
            network = retrain(members, arguments.seed)
    release = LayerRelease(
        name, network, others, members, tuple(arguments.layers), arguments.max_layers,
        None if arguments.model else retrain,
    )  # fmt: skip
    adversary = LayerAdversary(
        steps=arguments.steps,
        refinement=arguments.refinement,
        bound=arguments.bound,
        shadows=arguments.shadows,
        seed=arguments.seed,
    )
    report = audit_release(release, adversary)
    plot = Plot(layer_plot(report), "Figures without an attack, and what an adversary got, layer by layer")
    return _write(arguments, layer_decision(report), [Section(report, (plot,)), *sections])


def weights(arguments: argparse.Namespace) -> int:
    """`omm audit weights`."""
    pictures = _pictures(arguments.photos, arguments)
    if arguments.others is not None:
        members, others = pictures, _pictures(arguments.others, arguments)
    elif arguments.model:
        raise UserError("name pictures that the model was not trained on: --others FOLDER")
    else:
        members, others = pictures.split(min(arguments.limit, len(pictures) // 2), arguments.seed)
    subject: NetworkKind | nn.Module = arguments.network
    labeled_by_network = False
    if arguments.model:
        subject = _network(arguments, members)
        answered = [label_by_network(subject, side) for side in (members, others)]
        labeled_by_network = [side.classes for side in answered] != [members.classes, others.classes]
        members, others = answered if labeled_by_network else (members, others)
    else:
        _check_classes(members)
    report = weights_report(
        subject,
        members,
        others,
        steps=arguments.steps,
        reconstruction_steps=arguments.reconstruction_steps,
        epochs=arguments.epochs,
        seed=arguments.seed,
        labeled_by_network=labeled_by_network,
    )
    return _write(arguments, weights_decision(report), [Section(report)])


def representation(arguments: argparse.Namespace) -> int:
    """`omm audit representation`."""
    training, public, private = _by_person(arguments)
    device = pick_device(arguments.device)
    reports = representation_reports(
        training,
        public,
        private,
        arguments.weights,
        embedder=load_model(arguments.embedder, allow_python=arguments.allow_python, device=device),
        settings=RepresentationSettings(steps=arguments.steps, seed=arguments.seed),
        decoder_steps=arguments.decoder_steps,
        make_encoder=_backbone(arguments, training),
        device=device,
    )
    plot = Plot(privacy_plot(reports[1:]), "What the task and what a new decoder get, lambda by lambda")
    first, *rest = reports
    return _write(arguments, representation_decision(reports), [Section(first, (plot,)), *map(Section, rest)])


def protect_representation(arguments: argparse.Namespace) -> int:
    """`omm protect-representation`."""
    training, public, private = _by_person(arguments)
    settings = RepresentationSettings(weight=arguments.weight, steps=arguments.steps, seed=arguments.seed)
    device = pick_device(arguments.device)
    embedder = load_model(arguments.embedder, allow_python=arguments.allow_python, device=device)
    defense = train_defense(training, settings, device=device)
    card = save(defense, arguments.out)
    arguments.output.say(replace_unprintable(f"encoder, head and card: {card} and beside it"))
    arguments.output.add(card=card)
    judge = make_adversary(training, public, embedder=embedder, settings=settings, device=device)
    report = audit_release(RepresentationRelease(defense, private), judge)
    return _write(arguments, representation_decision([report]), [Section(report)])


def _by_person(arguments: argparse.Namespace) -> tuple[Pictures, Pictures, Pictures]:
    """Return pictures to train the encoder on, pictures of other people for the judge, and of others to judge on.

    Raises:
        UserError: fewer than three people, or people who are classes of the task themselves.
    """
    pictures = _of_people(arguments)
    shares = (arguments.training, arguments.public)
    layout = (
        "three groups of people are needed, for the encoder, for the judge and to judge on, who do the same task: sort "
        "PHOTOS as CLASS/PERSON/photo, with several people of every class"
    )
    if len(torch.unique(pictures.groups)) < 3:
        raise UserError(layout)
    training, public, private = pictures.split_into_groups(shares, arguments.seed)
    if not pictures.attributes and not set(private.labels.tolist()) <= set(training.labels.tolist()):
        raise UserError(layout)
    return training, public, private


def _of_people(arguments: argparse.Namespace) -> Pictures:
    """Return the user's photos with their attributes or classes, or portraits of many people.

    Raises:
        UserError: labels without photos, labels of another kind, or photos that lack them.
    """
    if arguments.labels and arguments.photos is None:
        raise UserError("--labels belong to photos: give their folder, too")
    if arguments.photos is None and arguments.pictures == "portraits":
        size, seed = arguments.size, arguments.seed
        return portrait_pictures(DRAWN_PORTRAITS, size, task=arguments.task, seed=seed, people=DRAWN_PEOPLE)
    pictures = _pictures(arguments.photos, arguments)
    if not arguments.labels:
        return pictures
    dataset = open_dataset(arguments.labels)
    if not dataset.attributes:
        raise UserError(f"{arguments.labels} has no attributes: name a table of them, --labels celeba:PATH")
    root = dataset.root if dataset.root.is_dir() else dataset.root.parent
    table = identity_table(root)
    labels = attributes_for(dataset, photos=pictures.names)
    return with_attributes(pictures, labels, None if table is None else read_identities(table))


def _backbone(arguments: argparse.Namespace, pictures: Pictures) -> MakeEncoder | None:
    """Return how to begin an encoder with `--model` up to `--layer`; None without a model.

    Raises:
        UserError: one of the two without the other, or an unknown layer.
    """
    if bool(arguments.model) != bool(arguments.layer):
        raise UserError("a backbone needs a model and the layer at which it is cut: --model URI --layer NAME")
    if not arguments.model:
        return None
    network = load_model(arguments.model, allow_python=arguments.allow_python)
    (layer,) = choose_layers(network, pictures.pixels, (arguments.layer,))
    return lambda: BackboneEncoder(network, layer, pictures.pixels, RepresentationSettings().dimension)


def _pictures(photos: Path | None, arguments: argparse.Namespace) -> Pictures:
    """Return the user's photos, or pictures that need no download."""
    if photos is not None:
        return folder_pictures(photos, arguments.size)
    if arguments.pictures == "digits":
        return digit_pictures(arguments.size)
    return portrait_pictures(PORTRAITS, arguments.size, task=arguments.task, seed=arguments.seed)


def _network(arguments: argparse.Namespace, pictures: Pictures) -> nn.Module:
    """Load the model of `--model`, or train a small one for `--epochs` epochs."""
    if arguments.model:
        device = pick_device(arguments.device)
        return load_model(arguments.model, allow_python=arguments.allow_python, device=device)
    network = _small(arguments, pictures)
    if arguments.epochs:
        train, _ = pictures.split(min(TRAIN_LIMIT, len(pictures) // 2), arguments.seed)
        train_network(network, train, epochs=arguments.epochs, seed=arguments.seed)
    return network


def _check_classes(pictures: Pictures) -> None:
    """Refuse pictures of fewer than two classes, on which a small network cannot be trained."""
    if pictures.classes < 2:
        raise UserError(
            "a small network is trained to tell classes apart: sort PHOTOS as CLASS/photo with two classes or more, or "
            "name a --model"
        )


def _small(arguments: argparse.Namespace, pictures: Pictures, seed: int | None = None) -> nn.Module:
    """Return an untrained small network of the flags, by their seed unless another is given."""
    _check_classes(pictures)
    channels = pictures.pixels.shape[1]
    try:
        seed = arguments.seed if seed is None else seed
        return small_network(arguments.network, channels, arguments.size, pictures.classes, seed=seed)
    except ValueError as error:
        raise UserError(f"--network {arguments.network} --size {arguments.size}: {error}") from error


def _halves(pictures: Pictures, seed: int) -> tuple[Pictures, Pictures]:
    """Split pictures into those that a network is trained on and as many that it is not trained on."""
    return pictures.split(round(TRAIN_SHARE * len(pictures)), seed)


def _protected(arguments: argparse.Namespace, pictures: Pictures) -> Tensor:
    """Return the (N,3,S,S) protected versions of the pictures."""
    if arguments.photos is None:
        raise UserError("--protected is a folder with protected versions of PHOTOS; name PHOTOS too")
    _, (folder,) = open_folders(arguments.photos, [arguments.protected])
    files = [folder.files.get(name) for name in pictures.names]
    missing = [name for name, file in zip(pictures.names, files, strict=True) if file is None]
    if missing:
        raise UserError(f"{arguments.protected} has no protected version of {missing[0]}")
    return torch.stack([resize_and_crop(read_photo(file), arguments.size) for file in files if file is not None])


def _cost(arguments: argparse.Namespace, network: nn.Module, pictures: Pictures) -> Cost:
    """Measure what each defense costs the task of a small network; a named model is not trained again."""
    if arguments.model:
        return Cost({}, "unknown: a model from elsewhere is not trained again, and its labels are its own answers")
    training, test = pictures.split(round(COST_SHARE * len(pictures)), arguments.seed)
    chance = torch.bincount(test.labels).max().item() / len(test)
    accuracies = {}
    for text in arguments.defenses:
        defense = parse_defense(text)
        accuracies[defense.name] = federated_accuracy(
            network,
            training,
            test,
            defense,
            batch=arguments.batch,
            mode=arguments.mode,
            local_steps=arguments.local_steps,
            local_rate=arguments.local_rate,
            rounds=arguments.rounds,
            seed=arguments.seed,
        )
    meaning = (
        f"accuracy on {len(test)} other pictures after {arguments.rounds} rounds of federated training on gradients "
        f"with this defense; always answering the most common class has {chance:.2f}"
    )
    return Cost(accuracies, meaning, chance)


def _write(arguments: argparse.Namespace, decision: Decision, sections: Sequence[Section]) -> int:
    """Write the files of an audit and print its tables."""
    header = {"command": recorded_command(arguments.words), "environment": environment(torch.device("cpu"))}
    title = f"omm audit {arguments.audit}" if arguments.command == "audit" else f"omm {arguments.command}"
    write_audits(arguments.out, decision, sections, title=title, header=header)
    arguments.output.say(to_markdown(decision, [section.report for section in sections]))
    arguments.output.say(replace_unprintable(f"with pictures: {arguments.out / PAGE}"))
    arguments.output.add(results=arguments.out / JSON, report=arguments.out / PAGE)
    arguments.output.add(decision=decision.to_json())
    arguments.output.add(reports=[section.report.to_json() for section in sections])
    return 0
