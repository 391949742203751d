"""The two attacks on a layer's outputs: reconstruction by a learned inverter, and membership inference."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.decision import picture_state
from onlymymodel.evaluate.audits.inverter import invert, train_inverter
from onlymymodel.evaluate.audits.layers.layers import to_maps
from onlymymodel.evaluate.audits.layers.membership import membership_auc, train_attacker
from onlymymodel.evaluate.audits.pictures import Pictures
from onlymymodel.evaluate.audits.report import Value
from onlymymodel.protect.budget.distortion import batch_psnr, batch_ssim

SEED_OFFSET = 104_729  # makes the split and the shuffled pairs independent of other permutations by the same seed
PartT = TypeVar("PartT")
OtherT = TypeVar("OtherT")


@dataclass(frozen=True)
class AttackSplit(Generic[PartT]):
    """Pictures, or outputs for them, split by person for an attack: train and test parts share no person.

    Attributes:
        train: nonmembers that the adversary trains on.
        test: nonmembers that the attack is evaluated on.
        train_members, test_members: the same of members, pictures that the network was trained on; None if unknown.
    """

    train: PartT
    test: PartT
    train_members: PartT | None = None
    test_members: PartT | None = None

    def map(self, function: Callable[[PartT], OtherT]) -> "AttackSplit[OtherT]":
        """Return the split of the function's results."""
        if self.train_members is None or self.test_members is None:
            return AttackSplit(function(self.train), function(self.test))
        parts = (self.train, self.test, self.train_members, self.test_members)
        return AttackSplit(*(function(part) for part in parts))


def split_by_person(nonmembers: Pictures, members: Pictures | None, seed: int) -> AttackSplit[Pictures]:
    """Split pictures for an attack: half of the groups to train, half to test, the same for members and nonmembers.

    Raises:
        UserError: fewer than two pictures in a part, as with a single group.
    """
    groups = torch.unique(torch.cat([nonmembers.groups, members.groups]) if members else nonmembers.groups)
    # its own random stream: members and nonmembers may have been split by a permutation of the same seed
    generator = torch.Generator().manual_seed(SEED_OFFSET + seed)
    order = groups[torch.randperm(len(groups), generator=generator)]

    def select(pictures: Pictures, chosen_groups: Tensor) -> Pictures:
        chosen = pictures.take(torch.isin(pictures.groups, chosen_groups).nonzero()[:, 0])
        if len(chosen) < 2:
            raise UserError(
                "an audit of layers needs pictures of several people, two or more for each half of them: sort them as "
                "PERSON/photo or CLASS/PERSON/photo"
            )
        return chosen

    test, train = order[: len(order) // 2], order[len(order) // 2 :]
    if members is None:
        return AttackSplit(select(nonmembers, train), select(nonmembers, test))
    return AttackSplit(
        select(nonmembers, train), select(nonmembers, test), select(members, train), select(members, test)
    )


def release_outputs(release: Callable[[Tensor], Tensor], pictures: AttackSplit[Pictures]) -> AttackSplit[Tensor]:
    """Return the outputs of a release, (N,C,S,S) -> (N,...), for each part."""
    return pictures.map(lambda part: release(part.pixels))


def reconstruct(
    outputs: AttackSplit[Tensor],
    pictures: AttackSplit[Pictures],
    *,
    steps: int,
    seed: int,
    progress: bool,
    shuffled: bool = False,
) -> tuple[dict[str, Value], Tensor]:
    """Train an inverter on the train part, and measure its reconstructions of the test part.

    Args:
        steps: number of training steps of the inverter.
        seed: seed of the inverter and of the shuffling.
        shuffled: whether each output is paired with a wrong picture, as a control: the reconstructions then show what
            is known without the outputs.

    Returns:
        mean SSIM and PSNR, the shares of the pictures that come back, and the (N,C,S,S) reconstructions.
    """
    pixels = pictures.train.pixels.to(outputs.train.device)
    if shuffled:  # at random: neighbors may be similar, as where people come in turn
        pixels = pixels[torch.randperm(len(pixels), generator=torch.Generator().manual_seed(SEED_OFFSET + seed))]
    net = train_inverter(to_maps(outputs.train), pixels, steps=steps, seed=seed, progress=progress)
    reconstructions = invert(net, to_maps(outputs.test)).cpu()
    mean = pictures.train.pixels.mean(0).expand_as(pictures.test.pixels)
    values = mean_similarity(reconstructions, pictures.test.pixels)
    return values | shares_revealed(reconstructions, mean, pictures.test.pixels), reconstructions


def closer_of(first: Tensor, second: Tensor, pixels: Tensor) -> Tensor:
    """Return of two reconstructions of each of (N,C,S,S) pictures the one with the higher SSIM."""
    better = batch_ssim(second, pixels) > batch_ssim(first, pixels)
    return torch.where(better[:, None, None, None], second, first)


def shares_revealed(reconstructions: Tensor, mean: Tensor, pixels: Tensor) -> dict[str, Value]:
    """Return the shares of (N,C,S,S) pictures that come back, and that at least partly do, see `picture_state`."""
    pairs = zip(batch_ssim(reconstructions, pixels).tolist(), batch_ssim(mean, pixels).tolist(), strict=True)
    states = [picture_state(ssim, guess) for ssim, guess in pairs]
    back = states.count("comes back")
    return {"come_back": back / len(states), "partly": (back + states.count("partly")) / len(states)}


def mean_similarity(reconstructions: Tensor, pixels: Tensor) -> dict[str, Value]:
    """Return mean SSIM and mean PSNR (over finite values) of (N,C,S,S) reconstructions to the pictures."""
    decibels = batch_psnr(reconstructions, pixels)
    finite = decibels[decibels.isfinite()]
    return {
        "ssim": batch_ssim(reconstructions, pixels).mean().item(),
        "psnr": finite.mean().item() if len(finite) else None,
    }


def infer_membership(outputs: AttackSplit[Tensor], seed: int) -> float | None:
    """Return the AUC on the test part of an attacker trained on the train part; None without members."""
    if outputs.train_members is None or outputs.test_members is None:
        return None
    scores = train_attacker(outputs.train_members, outputs.train, seed=seed)
    return membership_auc(scores(outputs.test_members), scores(outputs.test))


def infer_membership_of_nonmembers(outputs: AttackSplit[Tensor], seed: int) -> float | None:
    """Return the AUC of the same attack as a control: half of the nonmembers play the members.

    None with fewer than four pictures in a part.
    """
    if min(len(outputs.train), len(outputs.test)) < 4:
        return None
    scores = train_attacker(outputs.train[::2], outputs.train[1::2], seed=seed)
    return membership_auc(scores(outputs.test[::2]), scores(outputs.test[1::2]))
