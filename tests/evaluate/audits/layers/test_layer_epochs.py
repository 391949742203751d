"""Audit of layers over the epochs of a training."""

import pytest

from onlymymodel.evaluate.audits.layers.audit import (
    LayerAdversary,
    LayerRelease,
)
from onlymymodel.evaluate.audits.layers.epochs import epochs_report, has_interior_minimum
from onlymymodel.evaluate.audits.layers.plots import epochs_plot
from onlymymodel.evaluate.audits.networks import small_network
from onlymymodel.evaluate.audits.pictures import digit_pictures
from onlymymodel.evaluate.audits.report import audit_release


@pytest.mark.slow
def test_epochs_report_has_a_row_for_every_layer_and_ends_with_the_trained_network() -> None:
    members, others = digit_pictures(8).take(range(80)).split(40)
    net = small_network("cnn", 1, 8, 10, width=4)
    audited = epochs_report(net, members, others, epochs=[0, 2], name="cnn", progress=False)
    layers = audited.settings["layers"]
    assert [row.name for row in audited.rows] == [f"epoch {epoch}, {layer}" for epoch in (0, 2) for layer in layers]
    release = LayerRelease("cnn", net, others, members)
    last = audit_release(release, LayerAdversary(steps=0), progress=False)
    for ours, theirs in zip(audited.rows[len(layers) :], last.rows, strict=True):
        assert {**ours.values, **theirs.values} == {**theirs.values, "epoch": 2, "layer": theirs.name}
    svg = epochs_plot(audited)
    assert svg == epochs_plot(audited)
    assert svg.lstrip().startswith("<?xml")


def test_interior_minimum() -> None:
    assert has_interior_minimum([3, 1, 2])
    assert not has_interior_minimum([3, 2, 1])
    assert not has_interior_minimum([1, 2])
    assert not has_interior_minimum([3, None, 2])
