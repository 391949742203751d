"""Choices, defaults and settings of the audits, importable without torch.

The flags of `omm audit` and `omm protect-representation` and the functions behind them take their choices and defaults
from here. Command lines must parse and print help without loading torch.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from onlymymodel.errors import UserError

AuditName = Literal["gradients", "intermediate", "weights", "representation"]
PictureSource = Literal["portraits", "digits"]
Task = Literal["emotion", "identity", "attributes"]
NetworkKind = Literal["mlp", "cnn", "vit"]
Mode = Literal["eval", "train"]
AttackName = Literal["dlg", "idlg", "inverting", "gradinversion"]
DefenseName = Literal["noise", "clip", "topk", "dp"]

AUDITS: tuple[AuditName, ...] = get_args(AuditName)
PICTURE_SOURCES: tuple[PictureSource, ...] = get_args(PictureSource)
TASKS: tuple[Task, ...] = ("emotion", "identity")  # of classes
REPRESENTATION_TASKS: tuple[Task, ...] = ("emotion", "attributes")
NETWORK_KINDS: tuple[NetworkKind, ...] = get_args(NetworkKind)
MODES: tuple[Mode, ...] = get_args(Mode)
ATTACK_NAMES: tuple[AttackName, ...] = get_args(AttackName)
SIZES = (16, 32, 64, 224)  # side of the pictures in pixels

NO_DEFENSE = "none"
DEFENSE_ARGUMENTS: dict[DefenseName, str] = {"noise": "SHARE", "clip": "NORM", "topk": "SHARE", "dp": "MULTIPLIER"}
DEFENSE_GRAMMAR = (
    ", ".join([NO_DEFENSE, *(f"{name}:{argument}" for name, argument in DEFENSE_ARGUMENTS.items())])
    + ", and chains with +"
)


@dataclass(frozen=True)
class PictureOptions:
    """Source of the pictures of an audit if no folder is given, and preprocessing of all pictures.

    Attributes:
        source: rendered portraits or scikit-learn's digits.
        task: label of the portraits.
        size: side in pixels to which pictures are resized.
        seed: seed of everything that an audit draws.
    """

    source: PictureSource = "portraits"
    task: Task = "emotion"
    size: int = 32
    seed: int = 0


@dataclass(frozen=True)
class GradientOptions:
    """Defaults of the audit of shared gradients (gradient inversion).

    Attributes:
        network: kind of the small network if no model is named.
        epochs: number of epochs for which the small network is trained first; 0 leaves it untrained.
        limit: number of pictures that are attacked.
        attacks: names of the attacks.
        defenses: defenses of the gradient, see `DEFENSE_GRAMMAR`.
        mode: mode of the network at the client.
        batch: number of pictures behind one gradient.
        local_steps: number of local steps behind one update (FedAvg); 1 sends a gradient.
        local_rate: step size of each local step.
        restarts: number of initializations of an attack beyond the first.
        rounds: number of rounds of the federated training by which a defense's cost is measured.
    """

    network: NetworkKind = "cnn"
    epochs: int = 0
    limit: int = 8
    attacks: tuple[AttackName, ...] = ("dlg", "inverting")
    defenses: tuple[str, ...] = (NO_DEFENSE, "noise:0.1")
    mode: Mode = "eval"
    batch: int = 1
    local_steps: int = 1
    local_rate: float = 0.1
    restarts: int = 0
    rounds: int = 100


@dataclass(frozen=True)
class LayerOptions:
    """Defaults of the audit of intermediate outputs.

    Attributes:
        network: kind of the small network if no model is named.
        epochs: number of epochs of its training.
        max_layers: largest number of layers that are audited, spread evenly.
        steps: number of training steps of the inverter.
        refinement: number of steps by which the inverter's results are refined with the network.
        bound: wanted least error of any estimate from noisy outputs, as a share of the pixels' variance.
        shadows: number of shadow networks that infer membership, for a small network.
        over_epochs: whether the layers of a small network are audited over the epochs of its training too.
        seeds: number of small networks whose layers are audited over the epochs.
    """

    network: NetworkKind = "cnn"
    epochs: int = 20
    max_layers: int = 16
    steps: int = 300
    refinement: int = 100
    bound: float = 0.9
    shadows: int = 8
    over_epochs: bool = True
    seeds: int = 5


@dataclass(frozen=True)
class WeightOptions:
    """Defaults of the audit of released weights (network inversion).

    Attributes:
        network: kind of the small network if no model is named.
        epochs: number of epochs of its training.
        limit: number of its training pictures.
        steps: number of training steps of the generator.
        reconstruction_steps: number of steps of the reconstruction of pictures from the weights.
    """

    network: NetworkKind = "cnn"
    epochs: int = 300
    limit: int = 60
    steps: int = 300
    reconstruction_steps: int = 1500


@dataclass(frozen=True)
class RepresentationOptions:
    """Defaults of the audit of representations, and of training a protected one.

    Attributes:
        weights: weights lambda of the utility-privacy curve.
        training: share of the people on whose pictures the encoder is trained.
        public: share of the people on whose pictures the judging decoders are trained; the others are private.
        embedder: URI of the face model by which identity is compared.
        decoder_steps: number of training steps of the convolutional decoder that judges.
        steps: number of training steps of the defense.
    """

    weights: tuple[float, ...] = (0.0, 1.0, 2.0)
    training: float = 0.5
    public: float = 0.25
    embedder: str = "zoo:identity-residual"
    decoder_steps: int = 400
    steps: int = 400


# `--quick`: a verdict within three minutes on one core
QUICK_GRADIENTS = GradientOptions(limit=4, rounds=40)
QUICK_LAYERS = LayerOptions(epochs=8, max_layers=6, steps=200, shadows=4, over_epochs=False)
QUICK_WEIGHTS = WeightOptions(epochs=150, limit=30, steps=30, reconstruction_steps=150)
QUICK_REPRESENTATION = RepresentationOptions(weights=(0.0, 2.0), decoder_steps=100, steps=150)


@dataclass(frozen=True)
class RepresentationSettings:
    """Training settings of the encoder of a protected representation.

    Attributes:
        weight: lambda, weight of hiding the picture beside the task's cross-entropy; 0 is no defense.
        noise: standard deviation of the Gaussian noise that the sender adds to each number of a representation, in
            training and in use. Representations have variance 1, so 1 is as much noise as signal. Without noise,
            information that is scaled down can be scaled up again; with noise it is lost.
        best_linear: whether the encoder is also trained against the best linear adversary, see `leave_one_out_ridge`;
            without it and without noise the training is the published one.
        steps: number of training steps of the encoder, of the head and of the decoder each.
        seed: seed of the weights, of the order of the pictures and of the noise.
        dimension: length of a representation, a multiple of 16.
        batch: number of pictures in one step.
        rate: learning rate of both Adam optimizers.
    """

    weight: float = 1.0
    noise: float = 0.5
    best_linear: bool = True
    steps: int = 400
    seed: int = 0
    dimension: int = 128
    batch: int = 48
    rate: float = 2e-3

    def __post_init__(self) -> None:
        """Raise UserError for a value out of its range."""
        for name in ("weight", "noise"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise UserError(f"the {name} of a representation defense must be 0 or more, not {getattr(self, name)}")
        for name in ("steps", "batch", "dimension"):
            if getattr(self, name) < 1:
                raise UserError(f"the {name} of a representation defense must be at least 1, not {getattr(self, name)}")
        if not 0 < self.rate <= 1:
            raise UserError(f"the rate of a representation defense must be above 0 and at most 1, not {self.rate}")

    def to_json(self) -> dict[str, Any]:
        """Return all settings as JSON values."""
        return asdict(self)
