"""`Protector`: the same bytes as the command line and the functions below it, for every kind of picture and model."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evaluating import MINE, OTHERS, THEIRS, write_photos
from outside_attacks import Fgsm
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from toys import SIZE, bare, mine, others, read_portrait, theirs

from onlymymodel import Budget, Protector, UserError, make_recipe, protect_bytes, wrap_network
from onlymymodel.cli.main import main
from onlymymodel.data.image_io import decode
from onlymymodel.evaluate.results_file import read_results
from onlymymodel.protect import run_record
from onlymymodel.protect.budget.strengths import STRENGTHS
from onlymymodel.protect.photo_record import PhotoManifest
from onlymymodel.settings_partial import PartialSettings
from onlymymodel.surrogates.black_box import ClassifierBlackBox

QUICK = make_recipe("exact", steps=2, step_share=1.0, views=("center",), kappa=0.5)
FLAGS = [
    "--recipe",
    "exact",
    "--steps",
    "2",
    "--step-share",
    "1",
    "--views",
    "center",
    "--kappa",
    "0.5",
    "--epsilon",
    "16",
]


def protector(**changes: Any) -> Protector:
    settings: dict[str, Any] = {"authorized": mine(), "surrogates": [theirs()], "epsilon": 16, "recipe": QUICK}
    return Protector(**{**settings, "device": "cpu", **changes})


@pytest.fixture(scope="module")
def usual() -> Protector:
    return protector()


def portraits(count: int = 3) -> Tensor:
    return torch.stack([torch.from_numpy(read_portrait(index)).permute(2, 0, 1) for index in range(count)])


def test_a_photo_is_protected_as_protect_bytes_does(usual: Protector, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(read_portrait(0)).save(path)
    result = usual.protect(path)
    data, record = protect_bytes(path.read_bytes(), label=None, context=usual.context)
    assert result.data == data is not None
    assert result.record.status == record.status == "protected"
    assert result.pixels is not None
    assert np.array_equal(result.pixels, decode(data).pixels)
    assert result.image is not None
    assert np.array_equal(np.asarray(result.image), result.pixels)
    result.save(tmp_path / "protected.png")
    assert (tmp_path / "protected.png").read_bytes() == data


def test_every_kind_of_picture_gives_the_same_photo(usual: Protector) -> None:
    array = read_portrait(1)
    expected = usual.protect(array).data
    assert expected is not None
    for picture in (Image.fromarray(array), torch.from_numpy(array).permute(2, 0, 1), array / 255):
        assert usual.protect(picture).data == expected


def test_a_batch_of_a_data_loader_gives_what_each_photo_gives_alone(usual: Protector) -> None:
    pixels = portraits(4)
    labels = mine()(pixels).argmax(1)
    rows: Iterator[tuple[int, Tensor]] = iter(enumerate(pixels))
    for batch, classes in DataLoader(TensorDataset(pixels, labels), batch_size=3):
        protected = usual.protect_batch(batch, classes)
        assert protected.pixels.shape == batch.shape
        assert protected.pixels.dtype == torch.uint8
        for row, record, written in zip(protected.pixels, protected.records, protected.written, strict=True):
            index, photo = next(rows)
            alone = usual.protect(photo, label=int(labels[index]))
            assert record.status == alone.record.status
            assert written == (alone.data is not None)
            expected = photo if alone.pixels is None else torch.from_numpy(alone.pixels).permute(2, 0, 1)
            assert torch.equal(row, expected)


def test_photos_that_cannot_be_protected_are_returned_unchanged() -> None:
    pixels = portraits(2)
    strict = protector(recipe=make_recipe("exact", steps=1, kappa=1000.0, repair_steps=0))
    protected = strict.protect_batch(pixels)
    assert torch.equal(protected.pixels, pixels)
    assert not protected.written.any()
    single = strict.protect(pixels[0])
    assert single.record.status == "unchanged"
    assert (single.data, single.pixels, single.image) == (None, None, None)
    with pytest.raises(UserError, match="no protected file to save: unchanged, the authorized model cannot be kept"):
        single.save("nowhere.png")


def test_gray_batches_and_empty_ones(usual: Protector) -> None:
    gray = portraits(2)[:, :1]
    assert usual.protect_batch(gray).pixels.shape == gray.shape
    assert len(usual.protect_batch(gray[:0]).pixels) == 0


def test_only_what_a_mask_shows_changes(usual: Protector) -> None:
    array, mask = read_portrait(0), np.zeros((40, 40), np.uint8)
    mask[:, 20:] = 255
    pixels = usual.protect(array, mask=mask).pixels
    assert pixels is not None
    assert np.array_equal(pixels[:, :20], array[:, :20])
    assert not np.array_equal(pixels, array)


def test_a_folder_is_protected_and_evaluated_as_by_the_command_line(tmp_path: Path) -> None:
    source = write_photos(tmp_path / "source")
    by_uri = protector(authorized=MINE, surrogates=[THEIRS], heldout=[OTHERS], allow_python=True)
    summary = by_uri.protect_folder(source, tmp_path / "python")
    assert summary.all_protected
    words = ["--authorized", MINE, "--surrogate", THEIRS, "--allow-python", "--quiet", "--device", "cpu"]
    assert main(["protect", str(source), "--out", str(tmp_path / "flags"), *words, *FLAGS]) == 0
    digests = [
        {record.source: record.output_sha256 for record in PhotoManifest(tmp_path / name).load()}
        for name in ("python", "flags")
    ]
    assert digests[0] == digests[1]
    runs = [run_record.read(tmp_path / name) for name in ("python", "flags")]
    assert (runs[0].authorized_uri, runs[0].surrogate_uris) == (MINE, (THEIRS,))
    assert runs[0].settings == runs[1].settings
    assert main(["verify", str(tmp_path / "python"), "--allow-python", "--quiet"]) == 0
    results = by_uri.evaluate(source, tmp_path / "python", tmp_path / "judged", channels=["png", "jpeg75"])
    assert [row.role for row in results.rows] == ["authorized", "surrogate", "held-out"]
    assert read_results(tmp_path / "judged" / "results.json").authorized.score("python").right == 3


def test_models_may_be_objects_and_networks(tmp_path: Path) -> None:
    source = write_photos(tmp_path / "source")
    zeros, ones = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    wrapped = wrap_network(bare(), mean=zeros, std=ones, size=SIZE, fit="squash", interpolation="bicubic")
    by_object = protector(authorized=wrapped)
    assert by_object.protect_folder(source, tmp_path / "out").all_protected
    expected = [protector().protect(path).data for path in sorted(source.rglob("*.png"))]
    assert [path.read_bytes() for path in sorted((tmp_path / "out").rglob("*.png"))] == expected
    assert run_record.read(tmp_path / "out").authorized_uri == wrapped.card.uri
    words = ["verify", str(tmp_path / "out"), "--authorized", MINE, "--allow-python", "--quiet"]
    assert main([*words, "--authorized-only"]) == main(words) == 0
    judge = ClassifierBlackBox(others())
    results = by_object.evaluate(source, [tmp_path / "out"], tmp_path / "judged", heldout=[judge], labels={
        "0.png": 0, "1.png": 1, "sub/2.png": 2
    })  # fmt: skip
    assert [row.role for row in results.rows] == ["authorized", "surrogate", "held-out"]


def test_labels_are_indices_names_or_a_table(tmp_path: Path) -> None:
    net = bare()
    named = wrap_network(
        net, mean=(0, 0, 0), std=(1, 1, 1), size=SIZE, fit="squash", interpolation="bicubic", labels=("ada", "bo", "cy")
    )
    with_names = protector(authorized=named)
    label = int(mine()(portraits(1)).argmax())
    for given in (label, str(label), ("ada", "bo", "cy")[label]):
        assert with_names.protect(read_portrait(0), label=given).record.label == label
    with pytest.raises(UserError, match=r"label 'Ada' of python:toys:Linear#.*: unknown classes"):
        with_names.protect(read_portrait(0), label="Ada")
    with pytest.raises(UserError, match="indices outside 0 to 2"):
        with_names.protect_batch(portraits(1), [3])
    source = write_photos(tmp_path / "source")
    table = tmp_path / "labels.csv"
    table.write_text(f"file,label\n0.png,{('ada', 'bo', 'cy')[label]}\n")
    with_names.protect_folder(source, tmp_path / "out", labels=table)
    assert PhotoManifest(tmp_path / "out").by_source()["0.png"].label_source == "given"


def test_settings_are_those_of_a_run_file_or_a_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    """The preset's own models would be downloaded: toys take their place here."""
    preset = PartialSettings(
        authorized=MINE,
        surrogates=(THEIRS,),
        heldout=(OTHERS,),
        strength="low",
        metadata="none",
        recipe={"name": "exact"},
    )
    monkeypatch.setattr("onlymymodel.protector.load_preset", lambda name: {"photos": preset}[name])
    plain = Protector(preset="photos", allow_python=True, device="cpu")
    assert plain.context.budget == Budget.from_json(STRENGTHS["low"].bounds)
    assert (plain.context.metadata, plain.context.recipe.name) == ("none", "exact")
    assert plain.settings.heldout == (OTHERS,)
    changed = Protector(preset="photos", surrogates=[others()], strength="high", allow_python=True, device="cpu")
    assert changed.context.budget == Budget.from_json(STRENGTHS["high"].bounds)
    assert [model.card.sha256 for model in changed.context.surrogates] == [others().card.sha256]
    assert changed.context.authorized.card.uri == MINE
    bounded = protector(epsilon=None, budget=Budget(8 / 255, psnr=40, shape="texture"))
    assert bounded.context.budget == Budget(8 / 255, psnr=40, shape="texture")


def test_an_attack_from_outside_is_an_object_or_a_name(tmp_path: Path) -> None:
    exact = make_recipe("exact", kappa=0.5)
    by_object = protector(recipe=exact, attack=Fgsm())
    by_name = protector(recipe=exact, attack="python:outside_attacks:Fgsm", allow_python=True)
    array = read_portrait(0)
    assert by_object.protect(array).data == by_name.protect(array).data is not None
    by_object.protect_folder(write_photos(tmp_path / "source"), tmp_path / "out")
    assert run_record.read(tmp_path / "out").settings["attack"] == by_name.context.attack.to_json()  # type: ignore[union-attr]


@pytest.mark.slow
def test_workers_write_the_same_bytes(tmp_path: Path) -> None:
    named = protector(authorized=MINE, surrogates=[THEIRS], heldout=[], allow_python=True)
    source = write_photos(tmp_path / "source")
    for count in (1, 2):
        assert named.protect_folder(source, tmp_path / str(count), workers=count, batch_size=1).written
    one, two = ({file.name: file.read_bytes() for file in (tmp_path / n).rglob("*.png")} for n in ("1", "2"))
    assert one == two
    assert one


def test_workers_cannot_load_objects(usual: Protector, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give a URI in place of Classifier, or workers=1"):
        usual.protect_folder(write_photos(tmp_path / "source"), tmp_path / "out", workers=2)
    with pytest.raises(UserError, match="workers must be at least 1, not 0"):
        usual.protect_folder(tmp_path / "source", tmp_path / "out", workers=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"authorized": None}, "name the model that must still read the photos"),
        ({"authorized": bare()}, r"preprocessing of the network Linear is not known: pass wrap_network\(net, mean="),
        ({"surrogates": [ClassifierBlackBox(theirs())]}, "is a black box: it can judge, not guide"),
        ({"surrogates": [3]}, "a model is a URI, a Classifier or, as a judge, a BlackBox, not int"),
        ({"surrogates": []}, "name at least one stand-in"),
        ({"authorized": MINE}, "runs code of your own"),
        ({"attack": "python:outside_attacks:Fgsm", "recipe": "exact"}, "add --allow-python"),
        ({"strength": "low"}, "strength 'low' and epsilon 16 are both given"),
        ({"budget": Budget()}, "give no strength and no epsilon beside it"),
        ({"preset": "photo"}, "there is no preset 'photo'; did you mean 'photos'"),
        ({"recipe": "defualt"}, "unknown recipe 'defualt'; did you mean 'default'"),
        ({"device": "gpu"}, "device 'gpu' cannot be used here"),
        ({"region": "nowhere.png"}, "there is no nowhere.png"),
    ],
)
def test_settings_that_are_wrong_are_errors(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        protector(**changes)


@pytest.mark.parametrize(
    ("pixels", "labels", "message"),
    [
        (
            torch.zeros(3, 40, 40, dtype=torch.uint8),
            None,
            r"a \(B,3,H,W\) or \(B,1,H,W\) uint8 tensor, not \(3, 40, 40\)",
        ),
        (torch.zeros(1, 3, 40, 40), None, "not .* float32"),
        (torch.zeros(1, 40, 40, 3, dtype=torch.uint8), None, r"not \(1, 40, 40, 3\)"),
        (torch.zeros(2, 3, 40, 40, dtype=torch.uint8), [0], "1 label for 2 photos"),
    ],
)
def test_tensors_that_are_no_batch_are_errors(usual: Protector, pixels: Tensor, labels: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        usual.protect_batch(pixels, labels)


def test_what_is_wrong_with_a_photo_is_its_status(usual: Protector) -> None:
    assert usual.protect(b"no picture").record.status == "failed"
    assert usual.protect(np.zeros((8, 8, 3), np.uint8)).record.status == "skipped"


def test_bundled_models_are_refused_for_pictures_that_they_do_not_know() -> None:
    zoo = Protector(authorized="zoo:identity-residual", surrogates=["zoo:identity-plain"], device="cpu", recipe=QUICK)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for protect in (zoo.protect, lambda picture: zoo.protect_batch(torch.from_numpy(picture).permute(2, 0, 1)[None])):
        with pytest.raises(UserError, match="does not know these pictures"):
            protect(noise)


def test_every_argument_is_documented() -> None:
    text = inspect.getdoc(Protector) or ""
    for name in inspect.signature(Protector).parameters:
        assert f"    {name}: " in text
