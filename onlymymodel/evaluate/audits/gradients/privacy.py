"""Differential privacy of noisy gradients, by Opacus' accountant."""

import warnings

from onlymymodel.errors import UserError

DELTA = 1e-5
NEEDS_EXTRA = "an epsilon needs Opacus: pip install 'onlymymodel[dp]'"


def epsilon(multiplier: float, *, releases: int = 1, delta: float = DELTA) -> float:
    """Return the epsilon of some releases with Gaussian noise, by the Renyi accountant of Opacus.

    Each release is one gradient, clipped to a norm, with noise of `multiplier` times that norm. Neighbors differ by one
    gradient that is sent or not (add or remove). Nothing is subsampled: the adversary sees every gradient.

    Args:
        multiplier: standard deviation of the noise on each entry over the norm, above 0.
        releases: number of gradients that one person sends, such as one in each round.
        delta: between 0 and 1.

    Raises:
        UserError: Opacus is not installed.
    """
    try:
        from opacus.accountants import RDPAccountant
    except ImportError as error:
        raise UserError(NEEDS_EXTRA) from error
    accountant = RDPAccountant()
    accountant.history = [(multiplier, 1.0, releases)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an order at the end of its range: the bound is looser, not wrong
        return float(accountant.get_epsilon(delta))
