"""Losses of network inversion: signs that a network was trained on a picture.

Sources: [inversion] Suhail and Sethi, network inversion for training-like data reconstruction (arXiv 2410.16884) and
privacy preserving properties of vision classifiers (arXiv 2502.00760); [kkt] Haim et al., reconstructing training
data from trained neural networks (NeurIPS 2022), for several classes Buzaglo et al., deconstructing data
reconstruction (NeurIPS 2023). The ideas are theirs; the normalization of each (means over pictures, pairs and pixels,
so that a weight means the same at every size) is our reading.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def divergence(logits: Tensor, soft: Tensor) -> Tensor:
    """Return KL(soft || softmax(logits)) of (N,K) logits to (N,K) soft vectors, mean over pictures [inversion]."""
    return F.kl_div(F.log_softmax(logits, 1), soft, reduction="batchmean")


def cross_entropy_by_picture(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the (N,) cross-entropies to the labels: networks are confident about training pictures [inversion]."""
    return F.cross_entropy(logits, labels, reduction="none")


def cosine_diversity(features: Tensor) -> Tensor:
    """Return the mean cosine of the (N,D) features of two different pictures; 0 for a single one [inversion]."""
    gram, count = _gram(features), len(features)
    return (gram.sum() - gram.trace()) / max(1, count * (count - 1))


def feature_orthogonality(features: Tensor) -> Tensor:
    """Return the mean squared difference of the Gram matrix of the (N,D) unit features to the identity [inversion]."""
    gram = _gram(features)
    return (gram - torch.eye(len(gram), dtype=gram.dtype, device=gram.device)).square().mean()


def pixel_range(pixels: Tensor) -> Tensor:
    """Return the mean squared distance of pixels to [0,1], the range of pictures [inversion]."""
    return (pixels - pixels.clamp(0, 1)).square().mean()


def gradient_norm(losses: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Return the norm of the gradient of the mean (N,) loss by the weights, small at training pictures [inversion]."""
    gradients = torch.autograd.grad(
        losses.mean(), parameters, create_graph=True, allow_unused=True, materialize_grads=True
    )
    # a plain norm has no derivative at 0, which a fully confident network reaches
    return (torch.cat([gradient.flatten() for gradient in gradients]).square().sum() + 1e-12).sqrt()


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the (N,) differences of the logit of the label to the largest other one of (N,K), K at least 2."""
    of_label = F.one_hot(labels, logits.shape[1]).bool()
    return logits[of_label] - logits.masked_fill(of_label, -torch.inf).amax(1)


def soft_margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the (N,) differences of the logit of the label to the log-sum-exp of the others of (N,K), K at least 2.

    Its gradient is that of the negative cross-entropy over 1 minus the label's probability. A network that is trained
    to a stationary point of cross-entropy with weight decay is therefore exactly a non-negative combination of these
    gradients; that of `margins` is the limit for confident networks. As a margin for this purpose it is ours.
    """
    of_label = F.one_hot(labels, logits.shape[1]).bool()
    return logits[of_label] - logits.masked_fill(of_label, -torch.inf).logsumexp(1)


def stationarity(margin: Tensor, multipliers: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Return the distance of the parameters from a positive combination of gradients of margins, between 0 and 2.

    It is 0 at a KKT point. [kkt]: after long training, the parameters t of a homogeneous network are
    sum_i l_i grad_t margin_i over training pictures, l_i >= 0, up to their length. Their loss is the distance of the
    two sides. Ours is 1 - cosine: only the trainer knows the length of t, and the best common factor of all l_i need
    not be searched for.

    Args:
        margin: (N,) margins, with a graph to the parameters.
        multipliers: (N,) l_i, not negative.
        parameters: parameters of the network, requiring gradients. If all are zero, the result is 1, no signal.
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
