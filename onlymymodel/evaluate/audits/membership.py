"""Was this picture trained on? A simple attacker who reads outputs, and how often it is right."""

from collections.abc import Callable

import torch
from torch import Tensor

from onlymymodel.errors import UserError

COMPONENTS, EXAMPLES = 16, 25  # principal components of the outputs that the attacker reads, at most one for so many
STRENGTH = 0.05  # scikit-learn's C, the inverse of the penalty: few examples, many figures
Scores = Callable[[Tensor], Tensor]


def membership_auc(member_scores: Tensor, other_scores: Tensor) -> float:
    """Area under the ROC curve: how often a member scores above another picture, ties counted half.

    Args:
        member_scores, other_scores: (M,) and (N,), higher where the attacker rather sees a member.

    Raises:
        ValueError: no members, or no others.
    """
    if not len(member_scores) or not len(other_scores):
        raise ValueError("an AUC needs members and others")
    pairs = member_scores[:, None].double() - other_scores.double()
    return (pairs.sign().mean().item() + 1) / 2


def train_attacker(members: Tensor, others: Tensor, *, seed: int = 0) -> Scores:
    """A logistic regression on outputs: their first principal components and seven figures of their distribution.

    Our own choice of a simple attack in the manner of Nasr, Shokri & Houmansadr 2019 (outputs of a layer as features);
    without a gradient or the true label, and with pictures of the adversary's own of which it knows the membership.

    Args:
        members, others: (M,...) and (N,...) outputs of a layer, none of which is to be judged later.

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
        raise UserError("membership inference needs scikit-learn: pip install 'onlymymodel[audit]'") from error
    both = torch.cat([members, others]).flatten(1).double()
    answers = torch.cat([torch.ones(len(members)), torch.zeros(len(others))]).numpy()
    components = max(1, min(COMPONENTS, len(both) // EXAMPLES, both.shape[1]))
    principal = PCA(components, svd_solver="full", random_state=seed).fit(_finite(both).numpy())

    def features(outputs: Tensor) -> Tensor:
        flat = _finite(outputs.flatten(1).double())
        return torch.cat([torch.from_numpy(principal.transform(flat.numpy())), distribution(flat)], 1)

    regression = LogisticRegression(C=STRENGTH, max_iter=2000)
    attacker = make_pipeline(StandardScaler(), regression).fit(features(both).numpy(), answers)
    return lambda outputs: torch.from_numpy(attacker.decision_function(features(outputs).numpy()))


def distribution(outputs: Tensor) -> Tensor:
    """(N,d) -> (N,7): mean, deviation, least, largest, gap of the two largest, share above 0, log of the norm."""
    top = outputs.topk(min(2, outputs.shape[1]), 1).values
    norm = outputs.norm(dim=1).clamp_min(1e-30).log()
    columns = (outputs.mean(1), outputs.std(1, correction=0), outputs.amin(1), top[:, 0], top[:, 0] - top[:, -1])
    return torch.stack([*columns, (outputs > 0).double().mean(1), norm], 1)


def _finite(outputs: Tensor) -> Tensor:
    return outputs.nan_to_num().cpu()
