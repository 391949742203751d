"""Membership inference: a simple attacker who reads a layer's outputs, and the AUC of its scores."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from onlymymodel.errors import UserError

MAX_COMPONENTS = 16  # principal components of the outputs that the attacker reads
EXAMPLES_PER_COMPONENT = 25  # training pictures for each component, at least
INVERSE_PENALTY = 0.05  # scikit-learn's C; small, since there are few examples and many features
NEEDS_EXTRA = "membership inference needs scikit-learn: pip install 'onlymymodel[audit]'"
Scores = Callable[[Tensor], Tensor]


def membership_auc(member_scores: Tensor, nonmember_scores: Tensor) -> float:
    """Return the area under the ROC curve: the probability that a member scores higher, ties counted half.

    Args:
        member_scores: (M,) scores, higher for pictures that the attacker takes for members.
        nonmember_scores: (N,) scores of other pictures.

    Raises:
        ValueError: no members or no nonmembers.
        UserError: scikit-learn is not installed.
    """
    if not len(member_scores) or not len(nonmember_scores):
        raise ValueError("an AUC needs scores of members and of nonmembers")
    try:
        from sklearn.metrics import roc_auc_score
    except ImportError as error:
        raise UserError(NEEDS_EXTRA) from error
    truth = torch.cat([torch.ones(len(member_scores)), torch.zeros(len(nonmember_scores))])
    scores = _finite(torch.cat([member_scores, nonmember_scores]).double())
    return float(roc_auc_score(truth.numpy(), scores.numpy()))


def tpr_at_fpr(member_scores: Tensor, nonmember_scores: Tensor, fpr: float) -> float:
    """Return the share of members above a threshold that at most a share `fpr` of the nonmembers exceeds.

    The threshold is a nonmember's score, or above them all if there are fewer than 1 / fpr; a member has to exceed it.

    Args:
        member_scores: (M,) scores, higher for pictures that the attacker takes for members.
        nonmember_scores: (N,) scores of other pictures.
        fpr: largest false positive rate, below 1.
    """
    allowed = int(fpr * len(nonmember_scores))
    threshold = _finite(nonmember_scores).sort(descending=True).values[allowed]
    return (_finite(member_scores) > threshold).double().mean().item()


def auc_deviation(members: int, nonmembers: int) -> float:
    """Return the standard deviation of the AUC of guessing, by Mann and Whitney's statistic."""
    return math.sqrt((members + nonmembers + 1) / (12 * members * nonmembers))


def train_attacker(members: Tensor, nonmembers: Tensor, *, seed: int = 0) -> Scores:
    """Train a logistic regression on outputs: their first principal components and statistics of their distribution.

    Our own choice of a simple attack in the manner of Nasr, Shokri & Houmansadr 2019 (outputs of a layer as features);
    without a gradient or the true label, and trained on pictures of the adversary's own with known membership.

    Args:
        members: (M,...) outputs of a layer for training pictures of the network, none of which is attacked later.
        nonmembers: (N,...) outputs for other pictures, none of which is attacked later.

    Returns:
        a function from (K,...) outputs to (K,) scores.

    Raises:
        UserError: scikit-learn is not installed.
    """
    try:
        from sklearn.decomposition import PCA
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise UserError(NEEDS_EXTRA) from error
    both = torch.cat([members, nonmembers]).flatten(1).double()
    truth = torch.cat([torch.ones(len(members)), torch.zeros(len(nonmembers))]).numpy()
    components = max(1, min(MAX_COMPONENTS, len(both) // EXAMPLES_PER_COMPONENT, both.shape[1]))
    principal = PCA(components, svd_solver="full", random_state=seed).fit(_finite(both).numpy())

    def features(outputs: Tensor) -> Tensor:
        flat = _finite(outputs.flatten(1).double())
        return torch.cat([torch.from_numpy(principal.transform(flat.numpy())), distribution_features(flat)], 1)

    regression = LogisticRegression(C=INVERSE_PENALTY, max_iter=2000)
    attacker = make_pipeline(StandardScaler(), regression).fit(features(both).numpy(), truth)
    return lambda outputs: torch.from_numpy(attacker.decision_function(features(outputs).numpy()))


def distribution_features(outputs: Tensor) -> Tensor:
    """Return statistics (N,7) of each row of (N,d) outputs.

    They are mean, deviation, smallest, largest, gap of the two largest, share above 0, and logarithm of the norm.
    """
    top = outputs.topk(min(2, outputs.shape[1]), 1).values
    norm = outputs.norm(dim=1).clamp_min(1e-30).log()
    columns = (outputs.mean(1), outputs.std(1, correction=0), outputs.amin(1), top[:, 0], top[:, 0] - top[:, -1])
    return torch.stack([*columns, (outputs > 0).double().mean(1), norm], 1)


def _finite(values: Tensor) -> Tensor:
    return values.nan_to_num().cpu()
