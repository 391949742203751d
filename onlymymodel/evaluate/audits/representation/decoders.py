"""The adversary's reconstructions from representations: decoders, and a search with the encoder itself."""

import torch
from torch import Tensor

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.inverter import invert
from onlymymodel.evaluate.audits.refinement import refine
from onlymymodel.evaluate.audits.representation.defense import Representation
from onlymymodel.evaluate.audits.representation.judges import JUDGES, train_judge

NEEDS_EXTRA = "an audit of representations needs scikit-learn: pip install 'onlymymodel[audit]'"
RIDGE_PENALTY = 0.05  # on the squared weights of standardized features, times the number of public pictures
SEARCH_STEPS = 120
PUBLIC_SEED = 1  # of the noise on the adversary's own representations
DECODERS = (*JUDGES, "ridge", "searched")


def reconstruct(
    defense: Representation, public: Tensor, released: Tensor, *, steps: int, seed: int, progress: bool
) -> dict[str, Tensor]:
    """Return the reconstructions of released representations by each of `DECODERS`.

    The work is done on the device of the encoder. The search begins at the reconstructions of the decoder whose own
    representations are closest to the released ones: nothing of the private pictures is needed for that choice.

    Args:
        defense: its encoder is known and frozen.
        public: (P,C,S,S) in [0,1], the adversary's pictures.
        released: (N,dimension).
        steps: number of training steps of each convolutional decoder.
        seed: their seed.

    Returns:
        (N,C,S,S) in [0,1] on the CPU, by name.

    Raises:
        UserError: scikit-learn is not installed.
    """
    known, device = defense.release(public, seed=PUBLIC_SEED), defense.device
    on_device, pictures = known.to(device), public.to(device)
    wanted = released.to(device)
    decoded = {
        name: invert(train_judge(judge, on_device, pictures, steps=steps, seed=seed, progress=progress), wanted)
        for name, judge in JUDGES.items()
    }
    decoded["ridge"] = _by_ridge(known, public, released).to(device)

    def distance(pictures: Tensor) -> float:
        with torch.no_grad():
            return float((defense.encoder(pictures) - wanted).square().mean())

    start = min(decoded.values(), key=distance)
    decoded["searched"] = refine(defense.encoder, wanted, start, steps=SEARCH_STEPS)
    return {name: reconstructions.cpu() for name, reconstructions in decoded.items()}


def _by_ridge(known: Tensor, public: Tensor, released: Tensor) -> Tensor:
    """Fit a ridge regression from standardized representations to pictures, and return (N,C,S,S) in [0,1]."""
    try:
        from sklearn.linear_model import Ridge
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise UserError(NEEDS_EXTRA) from error
    regression = make_pipeline(StandardScaler(), Ridge(RIDGE_PENALTY * len(known)))
    regression.fit(known.flatten(1).numpy(), public.flatten(1).numpy())
    reconstructions = torch.from_numpy(regression.predict(released.flatten(1).numpy()))
    return reconstructions.float().clamp(0, 1).view(-1, *public.shape[1:])
