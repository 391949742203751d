"""Evidence for training pictures in weights: how well margin gradients of some pictures combine to the weights.

After long training the weights of a homogeneous network are sum_i l_i grad margin_i over the training pictures with
l_i >= 0 (a KKT point; Lyu and Li, ICLR 2020, Ji and Telgarsky, NeurIPS 2020), which Haim et al. (NeurIPS 2022) invert.
Here nothing is inverted: the best such combination for given pictures is a non-negative least squares problem, and its
cosine with the weights says how far these pictures explain them. As a test of training pictures against others, with
sets of equal size and classes and a permutation test, and with `losses.soft_margins`, it is ours; it needs neither
homogeneity nor convergence.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.picture_matching import balance_classes
from onlymymodel.evaluate.audits.pictures import Pictures
from onlymymodel.evaluate.audits.report import Value
from onlymymodel.evaluate.audits.weights.losses import soft_margins

Floats = NDArray[np.float64]
PERMUTATIONS = 199
MAX_ENTRIES = 200_000_000  # numbers of all gradients together: of a large network fewer pictures are taken


@dataclass(frozen=True)
class MarginGradients:
    """Inner products of the margin gradients of M pictures with each other and with the weights.

    Attributes:
        gram: (M,M) inner products of the gradients.
        with_weights: (M,) inner products of the gradients with the weights.
        norm: norm of the weights.
    """

    gram: Floats
    with_weights: Floats
    norm: float

    def cosine(self, rows: NDArray[np.intp]) -> float:
        """Return the largest cosine of the weights with a non-negative combination of the gradients of some pictures.

        It is 0 if no gradient has a positive inner product with the weights.
        """
        gram, target = self.gram[np.ix_(rows, rows)], self.with_weights[rows]
        weights = best_combination(gram, target)
        length = float(np.sqrt(max(float(weights @ gram @ weights), 0.0)))
        return float(weights @ target) / (length * self.norm) if length > 0 and self.norm > 0 else 0.0


def best_combination(gram: Floats, target: Floats) -> Floats:
    """Return the (M,) numbers l >= 0 with the least l^T gram l - 2 target^T l: non-negative least squares by SciPy.

    Raises:
        UserError: SciPy is not installed.
    """
    try:
        from scipy.optimize import nnls
    except ImportError as error:
        raise UserError("evidence in weights needs SciPy: pip install 'onlymymodel[audit]'") from error
    values, vectors = np.linalg.eigh(gram)
    kept = values > max(values.max(), 0) * 1e-10
    root = np.sqrt(values[kept])
    if not kept.any():
        return np.zeros(len(target))
    solution: Floats = nnls(root[:, None] * vectors[:, kept].T, vectors[:, kept].T @ target / root, maxiter=100_000)[0]
    return solution


def margin_gradients(network: nn.Module, pictures: Pictures) -> MarginGradients:
    """Return the inner products of the gradients, by all weights, of the margin of each picture.

    Raises:
        UserError: a gradient is not finite.
    """
    parameters = [parameter.detach().requires_grad_() for parameter in network.parameters()]
    names = [name for name, _ in network.named_parameters()]
    weights = torch.cat([parameter.detach().flatten() for parameter in parameters])
    rows: list[Tensor] = []
    for pixels, label in zip(pictures.pixels, pictures.labels, strict=True):
        logits = torch.func.functional_call(
            network, dict(zip(names, parameters, strict=True)), (pixels[None].to(weights.device),)
        )
        gradients = torch.autograd.grad(
            soft_margins(logits, label[None].to(weights.device)).sum(),
            parameters,
            materialize_grads=True,
            allow_unused=True,
        )
        rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    stacked = torch.stack(rows)
    if not stacked.isfinite().all() or not weights.isfinite().all():
        raise UserError("the network's logits or gradients are not finite: its weights cannot be audited")
    gram, target = (stacked @ stacked.T).double(), (stacked @ weights).double()
    return MarginGradients(gram.cpu().numpy(), target.cpu().numpy(), weights.double().norm().item())


def training_evidence(
    network: nn.Module, training: Pictures, others: Pictures, *, seed: int = 0, right_only: bool
) -> dict[str, Value]:
    """Return the cosine of training pictures and of as many others of the same classes, with the difference's interval.

    The interval inverts a permutation test, as `picture_matching.gap_interval` does: to somebody for whom the weights
    say nothing of membership, training and other pictures of a class are exchangeable.

    Args:
        network: (B,C,S,S) -> (B,classes) logits.
        training: pictures that the network was trained on.
        others: pictures that it was not trained on.
        seed: seed of the permutations.
        right_only: whether only pictures count that the network answers rightly, on both sides.

    Returns:
        `pictures`, `cosine_training`, `cosine_others`, `difference`, `difference_low`, `difference_high` and `p`, the
        share of permutations with a difference as large; None, all but the first, with fewer than four pictures.
    """
    sides = [_right(network, side) if right_only else side for side in (training, others)]
    names = ("cosine_training", "cosine_others", "difference", "difference_low", "difference_high", "p")
    if not {*sides[0].labels.tolist()} & {*sides[1].labels.tolist()}:
        return {"pictures": 0, **dict.fromkeys(names)}
    training, others = balance_classes(*sides)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    count = min(len(training), max(4, MAX_ENTRIES // (2 * parameters)))
    if count < 4:
        return {"pictures": count, **dict.fromkeys(names)}
    order = np.random.default_rng(seed).permutation(len(training))[:count]
    training, others = (side.take(torch.from_numpy(order)) for side in (training, others))
    both = Pictures(
        torch.cat([training.pixels, others.pixels]),
        torch.cat([training.labels, others.labels]),
        torch.cat([training.groups, others.groups]),
        (*(f"training {name}" for name in training.names), *(f"other {name}" for name in others.names)),
        training.classes,
    )
    return _compare(margin_gradients(network, both), count, both.labels.numpy(), seed)


def _compare(gradients: MarginGradients, count: int, labels: NDArray[np.int64], seed: int) -> dict[str, Value]:
    rng, rows = np.random.default_rng(seed), np.arange(2 * count)
    first, second = (gradients.cosine(side) for side in (rows[:count], rows[count:]))
    null = [first - second]
    for _ in range(PERMUTATIONS):
        chosen = np.zeros(2 * count, bool)
        for label in np.unique(labels):
            of_class = rows[labels == label]
            chosen[rng.permutation(of_class)[: len(of_class) // 2]] = True
        null.append(gradients.cosine(rows[chosen]) - gradients.cosine(rows[~chosen]))
    low, high = np.quantile(null, [0.025, 0.975])
    return {
        "pictures": count,
        "cosine_training": first,
        "cosine_others": second,
        "difference": first - second,
        "difference_low": first - second - float(high),
        "difference_high": first - second - float(low),
        "p": float(np.mean(np.asarray(null) >= first - second - 1e-12)),
    }


@torch.no_grad()
def _right(network: nn.Module, pictures: Pictures) -> Pictures:
    """Return the pictures that a network answers rightly."""
    device = next(network.parameters()).device
    answers = torch.cat([network(part.to(device)).argmax(1).cpu() for part in torch.split(pictures.pixels, 256)])
    return pictures.take((answers == pictures.labels).nonzero()[:, 0])
