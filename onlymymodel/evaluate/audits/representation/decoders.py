"""The adversary's reconstructions from representations: two decoders, and a search with the encoder itself."""

import torch
from torch import Tensor

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.inverter import invert, train_inverter
from onlymymodel.evaluate.audits.refinement import refine
from onlymymodel.evaluate.audits.representation.defense import Representation

NEEDS_EXTRA = "an audit of representations needs scikit-learn: pip install 'onlymymodel[audit]'"
RIDGE_PENALTY = 0.05  # on the squared weights of standardized features, times the number of public pictures
SEARCH_STEPS = 120
PUBLIC_SEED = 1  # of the noise on the adversary's own representations
DECODERS = ("convolutional", "ridge", "searched")


def reconstruct(
    defense: Representation, public: Tensor, released: Tensor, *, steps: int, seed: int, progress: bool
) -> dict[str, Tensor]:
    """Return the reconstructions of released representations by each of `DECODERS`.

    The search begins at the reconstructions of the decoder whose own representations are closer to the released ones:
    nothing of the private pictures is needed for that choice.

    Args:
        defense: its encoder is known and frozen.
        public: (P,C,S,S) in [0,1], the adversary's pictures.
        released: (N,dimension).
        steps: number of training steps of the convolutional decoder.
        seed: its seed.

    Returns:
        (N,C,S,S) in [0,1] by name.

    Raises:
        UserError: scikit-learn is not installed.
    """
    known = defense.release(public, seed=PUBLIC_SEED)
    net = train_inverter(known, public, steps=steps, seed=seed, progress=progress)
    decoded = {"convolutional": invert(net, released), "ridge": _by_ridge(known, public, released)}

    def distance(pictures: Tensor) -> float:
        with torch.no_grad():
            return float((defense.encoder(pictures) - released).square().mean())

    start = min(decoded.values(), key=distance)
    return {**decoded, "searched": refine(defense.encoder, released, start, steps=SEARCH_STEPS)}


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
