"""What tells a generator that a picture might be one that a network was trained on.

Sources: [inversion] Suhail and Sethi, network inversion for training-like data reconstruction (arXiv 2410.16884) and
privacy preserving properties of vision classifiers (arXiv 2502.00760); [kkt] Haim et al., reconstructing training
data from trained neural networks (NeurIPS 2022), for several classes Buzaglo et al., deconstructing data
reconstruction (NeurIPS 2023). The ideas are theirs; how each is normalized (means over pictures, pairs and pixels, so
that a weight means the same at every size) is our reading.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def divergence(logits: Tensor, soft: Tensor) -> Tensor:
    """KL(soft || softmax(logits)) of (N,K) answers to the conditioning vectors, mean over pictures [inversion]."""
    return F.kl_div(F.log_softmax(logits, 1), soft, reduction="batchmean")


def each_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """(N,) cross-entropy to the conditioning labels: training pictures are answered surely [inversion]."""
    return F.cross_entropy(logits, labels, reduction="none")


def cosine_diversity(features: Tensor) -> Tensor:
    """Mean cosine of the (N,D) features of two different pictures; 0 for a single one [inversion]."""
    gram, count = _gram(features), len(features)
    return (gram.sum() - gram.trace()) / max(1, count * (count - 1))


def feature_orthogonality(features: Tensor) -> Tensor:
    """Mean square of what the Gram matrix of the (N,D) unit features differs in from the identity [inversion]."""
    gram = _gram(features)
    return (gram - torch.eye(len(gram), dtype=gram.dtype, device=gram.device)).square().mean()


def total_variation(pixels: Tensor) -> Tensor:
    """Mean absolute difference of (N,C,H,W) neighbors, across plus down (anisotropic): natural pictures are smooth."""
    across, down = pixels.diff(dim=-1).abs(), pixels.diff(dim=-2).abs()
    return across.mean() + down.mean()


def pixel_range(pixels: Tensor) -> Tensor:
    """Mean squared distance of pixels to [0,1]: pictures have no other values [inversion]."""
    return (pixels - pixels.clamp(0, 1)).square().mean()


def gradient_norm(losses: Tensor, pixels: Tensor) -> Tensor:
    """Mean over pictures of the norm of a picture's own loss' gradient in its pixels; `losses` is (N,).

    [inversion] expects small gradients in the weights at training pictures; in the pixels it is our reading: trained
    on, a picture lies on a flat part of the loss. The weights have their say in `stationarity`.
    """
    (gradient,) = torch.autograd.grad(losses.sum(), pixels, create_graph=True)
    # a plain norm has no derivative at 0, where a network answers with full confidence
    return (gradient.flatten(1).square().sum(1) + 1e-12).sqrt().mean()


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """(N,) by how much the logit of the label is above the largest other one of (N,K), K at least 2."""
    own = F.one_hot(labels, logits.shape[1]).bool()
    return logits[own] - logits.masked_fill(own, -torch.inf).amax(1)


def stationarity(margin: Tensor, multipliers: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """How far the parameters are from a positive combination of the gradients of margins, 0 at a KKT point, 2 at most.

    [kkt]: trained long, the parameters t of a homogeneous network are sum_i l_i grad_t margin_i over training
    pictures, l_i >= 0, up to their length. Their loss is the distance of the two sides. Ours is 1 - cosine: the
    length of t is known to nobody but the trainer, and the best common factor of all l_i need not be searched for.

    Args:
        margin: (N,) with a graph to the parameters.
        multipliers: (N,) l_i, not negative.
        parameters: of the network, requiring gradients. All zero: 1, no signal.
    """
    gradients = torch.autograd.grad(
        (multipliers * margin).sum(), parameters, create_graph=True, allow_unused=True, materialize_grads=True
    )
    combined = torch.cat([gradient.flatten() for gradient in gradients])
    trained = torch.cat([parameter.detach().flatten() for parameter in parameters])
    return 1 - F.cosine_similarity(trained, combined, dim=0)


def _gram(features: Tensor) -> Tensor:
    unit = F.normalize(features, dim=1)
    return unit @ unit.T
