"""Audit of layers over the epochs of a training."""

import pytest

from onlymymodel.evaluate.audits.layers.audit import LayerAdversary
from onlymymodel.evaluate.audits.layers.epochs import EpochsAdversary, epochs_report, fall_and_rise
from onlymymodel.evaluate.audits.layers.plots import epochs_plot
from onlymymodel.evaluate.audits.layers.release import LayerRelease
from onlymymodel.evaluate.audits.networks import small_network
from onlymymodel.evaluate.audits.pictures import digit_pictures
from onlymymodel.evaluate.audits.report import audit_release


@pytest.mark.slow
def test_epochs_report_has_a_row_for_every_layer_and_ends_with_the_trained_network() -> None:
    members, others = digit_pictures(8).take(range(80)).split(40)
    audited, net = epochs_report(
        lambda seed: small_network("cnn", 1, 8, 10, width=4, seed=seed),
        members,
        others,
        epochs=[0, 2],
        adversary=EpochsAdversary(LayerAdversary(steps=0)),
        progress=False,
    )
    layers = audited.settings["layers"]
    names = [f"epoch {epoch}, {layer}" for epoch in (0, 2) for layer in layers]
    assert [row.name for row in audited.rows] == [*names, *(f"{layer}: fall and rise" for layer in layers)]
    last = audit_release(LayerRelease("cnn", net, others, members), LayerAdversary(steps=0), progress=False)
    for ours, theirs in zip(audited.rows[len(layers) : 2 * len(layers)], last.rows, strict=True):
        assert {**ours.values, **theirs.values} == {**theirs.values, "epoch": 2, "layer": theirs.name}
    # one seed has no interval, and therefore shows no fall and rise
    assert audited.rows[-1].values["degrees_of_freedom_fall"] is None
    assert audited.summary["degrees_of_freedom_falls_then_rises_in"] == 0
    svg = epochs_plot(audited)
    assert svg == epochs_plot(audited)
    assert svg.lstrip().startswith("<?xml")


def test_fall_and_rise_equal_hand_computed_values() -> None:
    curves = [[4.0, 1.0, 2.0], [4.0, 2.0, 3.0], [4.0, 1.5, 6.0]]
    fall, rise = fall_and_rise(curves)
    assert fall.mean == pytest.approx((0.75 + 0.5 + 0.625) / 3)
    assert rise.mean == pytest.approx((1.0 + 0.5 + 3.0) / 3)
    assert fall.low is not None
    assert fall.high is not None
    # Student's t with two degrees of freedom: 4.3027 standard errors
    deviation = (2 * 0.125**2 / 2) ** 0.5
    assert fall.high - fall.low == pytest.approx(2 * 4.302653 * deviation / 3**0.5, rel=1e-5)


def test_a_minimum_of_noise_alone_is_no_fall_and_rise() -> None:
    """Each curve has a low of its own elsewhere: the lowest value of each would fall by 0.5 and rise by 1."""
    curves = [[1.0, *(0.5 if epoch == low else 1.0 for epoch in range(1, 6)), 1.0] for low in range(1, 6)]
    fall, rise = fall_and_rise(curves)
    assert fall.mean < 0.05
    assert rise.mean < 0.05


def test_a_curve_that_only_falls_does_not_rise() -> None:
    fall, rise = fall_and_rise([[3.0, 2.0, 1.0], [3.0, 2.5, 1.5]])
    assert fall.mean == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert rise.mean == 0
