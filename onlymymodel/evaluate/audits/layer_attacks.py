"""What an adversary gets from a layer's outputs: pictures by an inverter, members by an attacker."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.audit import Value
from onlymymodel.evaluate.audits.inverter import invert, train_inverter
from onlymymodel.evaluate.audits.layers import as_maps
from onlymymodel.evaluate.audits.membership import membership_auc, train_attacker
from onlymymodel.evaluate.audits.pictures import Pictures
from onlymymodel.evaluate.audits.similarity import psnr, ssim

HALVES = 104_729  # added to the seed, here and where pairs are shuffled


@dataclass(frozen=True)
class Halves:
    """An adversary's own pictures and those it is judged on; nobody is in both.

    Attributes:
        own, judged: pictures that the network was not trained on.
        own_members, judged_members: pictures that it was trained on, or None.
    """

    own: Pictures
    judged: Pictures
    own_members: Pictures | None = None
    judged_members: Pictures | None = None


@dataclass(frozen=True)
class Seen:
    """Outputs (N,...) of one layer for each part of `Halves`."""

    own: Tensor
    judged: Tensor
    own_members: Tensor | None = None
    judged_members: Tensor | None = None


def in_halves(others: Pictures, members: Pictures | None, seed: int) -> Halves:
    """Half of the groups for the adversary, half to be judged on, the same for members and others.

    Raises:
        UserError: fewer than two pictures on a side, as with a single group.
    """
    groups = torch.unique(torch.cat([others.groups, members.groups]) if members else others.groups)
    # a stream of its own: members and others may have been parted by a permutation of the same seed
    generator = torch.Generator().manual_seed(HALVES + seed)
    order = groups[torch.randperm(len(groups), generator=generator)]

    def part(pictures: Pictures, of: Tensor) -> Pictures:
        chosen = pictures.take(torch.isin(pictures.groups, of).nonzero()[:, 0])
        if len(chosen) < 2:
            raise UserError(
                "an audit of layers needs pictures of several people, two or more for each half of them: sort them as "
                "PERSON/photo or CLASS/PERSON/photo"
            )
        return chosen

    judged, own = order[: len(order) // 2], order[len(order) // 2 :]
    if members is None:
        return Halves(part(others, own), part(others, judged))
    return Halves(part(others, own), part(others, judged), part(members, own), part(members, judged))


def look(release: Callable[[Tensor], Tensor], halves: Halves) -> Seen:
    """What `release`, (N,C,S,S) -> (N,...), gives for each half."""
    if halves.own_members is None or halves.judged_members is None:
        return Seen(release(halves.own.pixels), release(halves.judged.pixels))
    parts = (halves.own, halves.judged, halves.own_members, halves.judged_members)
    return Seen(*(release(part.pixels) for part in parts))


def reconstruct(
    seen: Seen, halves: Halves, *, steps: int, seed: int, progress: bool, shuffled: bool = False
) -> tuple[dict[str, Value], Tensor]:
    """Train an inverter on the adversary's own half; mean SSIM and PSNR (of the mean error) on the judged half.

    Args:
        shuffled: give it the wrong picture for every output: what it gets then comes from the pictures alone.

    Returns:
        the figures, and the (N,C,S,S) reconstructions.
    """
    pixels = halves.own.pixels.to(seen.own.device)
    if shuffled:  # at random: neighbors may be alike, as where people come in turn
        pixels = pixels[torch.randperm(len(pixels), generator=torch.Generator().manual_seed(HALVES + seed))]
    net = train_inverter(as_maps(seen.own), pixels, steps=steps, seed=seed, progress=progress)
    drawn = invert(net, as_maps(seen.judged)).cpu()
    return likeness(drawn, halves.judged.pixels), drawn


def likeness(drawn: Tensor, pixels: Tensor) -> dict[str, Value]:
    """Mean SSIM and mean PSNR (where finite) of (N,C,S,S) pictures to their originals."""
    noise = psnr(drawn, pixels)
    finite = noise[noise.isfinite()]
    return {
        "ssim": ssim(drawn, pixels).mean().item(),
        "psnr": finite.mean().item() if len(finite) else None,
    }


def membership(seen: Seen, seed: int) -> float | None:
    """AUC of an attacker trained on the adversary's own half, on the judged half; None without members."""
    if seen.own_members is None or seen.judged_members is None:
        return None
    scores = train_attacker(seen.own_members, seen.own, seed=seed)
    return membership_auc(scores(seen.judged_members), scores(seen.judged))


def strangers(seen: Seen, seed: int) -> float | None:
    """The same attack where there is nothing to be found: half of the non-members pass for members.

    None with fewer than four pictures on a side.
    """
    if min(len(seen.own), len(seen.judged)) < 4:
        return None
    scores = train_attacker(seen.own[::2], seen.own[1::2], seed=seed)
    return membership_auc(scores(seen.judged[::2]), scores(seen.judged[1::2]))
