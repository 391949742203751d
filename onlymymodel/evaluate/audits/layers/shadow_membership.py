"""Membership inference from a network's answer and the true label, with shadow networks of the adversary's own.

The likelihood ratio attack (LiRA) of Carlini et al., "Membership Inference Attacks From First Principles", IEEE S&P
2022, in its online form: shadow networks are trained on random halves of all candidates, and each candidate's
confidence is compared with those of shadows that were trained on it and of those that were not.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onlymymodel.evaluate.audits.layers.membership import membership_auc, tpr_at_fpr
from onlymymodel.evaluate.audits.pictures import Pictures
from onlymymodel.evaluate.audits.report import Value
from onlymymodel.progress import track

Retrain = Callable[[Pictures, int], nn.Module]  # trains a network like the audited one on pictures, by a seed
LOW_FPR = 0.01
MIN_DEVIATION = 1e-6  # of the confidences


@torch.no_grad()
def confidence(network: nn.Module, pictures: Pictures) -> Tensor:
    """Return log(p / (1 - p)) of the probability p of each picture's true label, (N,) float64.

    Raises:
        ValueError: the network's answer is no (N,classes) logits of the pictures' classes.
    """
    device = next(iter(network.parameters()), torch.empty(0)).device
    logits = torch.cat([network(part.to(device)).cpu() for part in torch.split(pictures.pixels, 64)]).double()
    if logits.ndim != 2 or logits.shape[1] != pictures.classes or pictures.classes < 2:
        raise ValueError("the network does not answer with logits of the pictures' classes")
    true = logits.gather(1, pictures.labels[:, None])[:, 0]
    others = logits.masked_fill(F.one_hot(pictures.labels, pictures.classes).bool(), -torch.inf)
    return true - others.logsumexp(1)


def likelihood_ratio(observed: Tensor, shadows: Tensor, trained_on: Tensor) -> Tensor:
    """Return the log likelihood ratio of membership of each candidate, (N,).

    The confidences of a candidate are taken for Gaussian, with a mean of its own for shadows that were trained on it
    and for the others, and two variances that all candidates share, as Carlini et al. do with few shadows.

    Args:
        observed: (N,) confidences of the audited network.
        shadows: (K,N) confidences of the shadow networks.
        trained_on: (K,N) bool, the pictures that each shadow was trained on; each needs both kinds.

    Raises:
        ValueError: a candidate that all or none of the shadows were trained on.
    """
    ratio = torch.zeros_like(observed)
    for sign, mask in ((1, trained_on), (-1, ~trained_on)):
        count = mask.sum(0)
        if (count == 0).any():
            raise ValueError("every candidate needs a shadow that was trained on it and one that was not")
        mean = (shadows * mask).sum(0) / count
        residuals = ((shadows - mean) * mask).square().sum()
        freedom = (int(mask.sum()) - mask.shape[1]) or 1
        deviation = (residuals / freedom).sqrt().clamp_min(MIN_DEVIATION)
        ratio += sign * (-((observed - mean) / deviation).square() / 2 - deviation.log())
    return ratio


def shadow_membership(
    network: nn.Module,
    members: Pictures,
    nonmembers: Pictures,
    retrain: Retrain,
    *,
    shadows: int,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, Value]:
    """Train shadow networks, and return AUC and TPR at a low FPR of the likelihood ratio attack.

    Args:
        network: the audited network, (B,C,S,S) -> (B,classes) logits.
        members: pictures that it was trained on.
        nonmembers: as many others or so of the same distribution.
        retrain: how the adversary trains a shadow on half of all these pictures.
        shadows: number of shadow networks, 2 or more; they come in pairs of complements.
        seed: seed of the halves and of the shadows.
    """
    pool = Pictures(
        torch.cat([members.pixels, nonmembers.pixels]),
        torch.cat([members.labels, nonmembers.labels]),
        torch.cat([members.groups, nonmembers.groups]),
        tuple(f"{index}" for index in range(len(members) + len(nonmembers))),
        members.classes,
    )
    generator, masks, confidences = torch.Generator().manual_seed(seed), list[Tensor](), list[Tensor]()
    for index in track(range(shadows), "shadow networks", unit="network", progress=progress):
        if index % 2:
            mask = ~masks[-1]  # the complement: every candidate is in half of the shadows
        else:
            mask = torch.zeros(len(pool), dtype=torch.bool)
            mask[torch.randperm(len(pool), generator=generator)[: len(pool) // 2]] = True
        shadow = retrain(pool.take(mask.nonzero()[:, 0]), seed * 1_000_003 + index + 1)
        masks.append(mask)
        confidences.append(confidence(shadow, pool))
    ratio = likelihood_ratio(confidence(network, pool), torch.stack(confidences), torch.stack(masks))
    own, other = ratio[: len(members)], ratio[len(members) :]
    return {"auc": membership_auc(own, other), "tpr": tpr_at_fpr(own, other, LOW_FPR)}
