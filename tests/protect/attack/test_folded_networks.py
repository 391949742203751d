"""The optimizer on folded networks: nearly the same steps, and networks as they are where layers are read."""

import pytest
import torch
from batches import attack_batch
from toys import generators

from onlymymodel.data.portraits import render
from onlymymodel.protect.attack import optimizer
from onlymymodel.protect.attack.optimizer import Proposal, optimize
from onlymymodel.protect.attack.recipe import make_recipe
from onlymymodel.protect.attack.tables import OBJECTIVES
from onlymymodel.surrogates.folding import folded
from onlymymodel.surrogates.load import load_model

AUTHORIZED, SURROGATE = (load_model(f"zoo:identity-{kind}") for kind in ("residual", "plain"))


def run(objective: str, monkeypatch: pytest.MonkeyPatch, *, folding: bool) -> Proposal:
    photos = torch.stack([torch.from_numpy(render(index, 0, index, 64)).permute(2, 0, 1) / 255 for index in range(2)])
    with monkeypatch.context() as patch:
        if not folding:
            patch.setattr(optimizer, "folded", lambda model: model)
        return optimize(
            attack_batch(photos, torch.tensor([0, 1]), streams=generators(2)),
            authorized=AUTHORIZED,
            surrogates=[SURROGATE],
            recipe=make_recipe("default", objective=objective, steps=1, kappa=100.0),
        )


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_networks_are_folded_unless_layers_are_read(objective: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folded(AUTHORIZED) is not AUTHORIZED
    assert folded(SURROGATE) is not SURROGATE
    with_folding, without = (run(objective, monkeypatch, folding=folding).delta for folding in (True, False))
    if OBJECTIVES[objective].uses_layers:
        assert torch.equal(with_folding, without)
    else:
        assert (with_folding == without).float().mean() > 0.999  # signs of gradients near zero may differ
