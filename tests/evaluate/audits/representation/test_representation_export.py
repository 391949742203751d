"""Files of a trained representation defense."""

import json
from dataclasses import replace
from pathlib import Path

import onnxruntime
import pytest
import torch
from audit_toys import SETTINGS, same, trained

from onlymymodel.errors import UserError
from onlymymodel.evaluate.audits.pictures import Pictures, portrait_pictures
from onlymymodel.evaluate.audits.representation.export import CARD, ENCODER, HEAD, ONNX, load, save


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return portrait_pictures(64, 16)


@pytest.mark.slow
def test_exported_defense_is_loaded_unchanged_and_runs_in_onnx_runtime(pictures: Pictures, tmp_path: Path) -> None:
    defense = trained(pictures, replace(SETTINGS, weight=1.0, noise=0.5))
    card = json.loads(save(defense, tmp_path / "new").read_text())
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted([CARD, ENCODER, HEAD, ONNX])
    assert sorted(card["sha256"]) == sorted([ENCODER, HEAD, ONNX])
    back = load(tmp_path / "new")
    assert same(back.encoder, defense.encoder)
    assert same(back.head, defense.head)
    assert replace(back, encoder=defense.encoder, head=defense.head) == defense
    assert torch.equal(back.release(pictures.pixels, seed=1), defense.release(pictures.pixels, seed=1))
    session = onnxruntime.InferenceSession(tmp_path / "new" / ONNX)
    for count in (1, 5):
        onnx_output = session.run(None, {"pixels": pictures.pixels[:count].numpy()})[0]
        torch.testing.assert_close(
            torch.from_numpy(onnx_output), defense.encoder(pictures.pixels[:count]), atol=1e-4, rtol=0
        )


def test_files_that_do_not_match_are_refused(pictures: Pictures, tmp_path: Path) -> None:
    save(trained(pictures, SETTINGS), tmp_path)
    weights, card = (tmp_path / ENCODER).read_bytes(), (tmp_path / CARD).read_text()
    (tmp_path / ENCODER).write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    with pytest.raises(UserError, match="does not have the hash"):
        load(tmp_path)
    (tmp_path / ENCODER).write_bytes(weights)
    (tmp_path / CARD).write_text(card.replace('"dimension": 16', '"dimension": 32'))
    with pytest.raises(UserError, match="do not match"):
        load(tmp_path)
    (tmp_path / CARD).write_text("{}")
    with pytest.raises(UserError, match="not the card"):
        load(tmp_path)
    with pytest.raises(UserError, match="cannot be read"):
        load(tmp_path / "nowhere")
