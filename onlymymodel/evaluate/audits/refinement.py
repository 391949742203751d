"""Refine reconstructions with the network itself: search for pictures whose outputs are the released ones."""

from collections.abc import Callable

import torch
from torch import Tensor

from onlymymodel.evaluate.audits.priors import total_variation

RATE = 0.03  # of Adam, in pixel values
SMOOTHNESS = 1e-3  # weight of the total variation


def refine(release: Callable[[Tensor], Tensor], outputs: Tensor, start: Tensor, *, steps: int) -> Tensor:
    """Return (N,C,S,S) pictures in [0,1] whose release is close to the outputs, from where an inverter ended.

    The white-box attack of He, Zhang and Lee ("Model Inversion Attacks Against Collaborative Inference", ACSAC 2019):
    the squared distance of outputs and the total variation are minimized over the pixels. Ours are the start, Adam with
    a cosine step size, pixels clipped to [0,1], and outputs divided by the root of their mean variance over the
    pictures. Pictures do not affect each other; of each the iterate with the least distance is kept.

    Args:
        release: differentiable function of (N,C,S,S) pictures to (N,...) outputs, each of one picture alone.
        outputs: (N,...), what was released.
        start: (N,C,S,S) in [0,1].
        steps: number of steps.
    """
    outputs = outputs.flatten(1)
    scale = outputs.var(0, correction=0).mean().clamp_min(torch.finfo(outputs.dtype).tiny)
    pixels = start.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([pixels], RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    best, lowest = pixels.detach().clone(), torch.full((len(pixels),), torch.inf, device=pixels.device)
    for step in range(steps + 1):
        with torch.enable_grad():
            distances = (release(pixels).flatten(1) - outputs).square().mean(1) / scale
        closer = distances.detach() < lowest
        best[closer], lowest[closer] = pixels.detach()[closer], distances.detach()[closer]
        if step == steps:
            break
        # each picture's own mean variation, summed
        loss = distances.sum() + SMOOTHNESS * len(pixels) * total_variation(pixels)
        (pixels.grad,) = torch.autograd.grad(loss, [pixels])
        optimizer.step()
        schedule.step()
        pixels.data.clamp_(0, 1)
    return best
