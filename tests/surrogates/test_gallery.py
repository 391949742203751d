"""An embedder with a gallery recognizes its people, and anybody else as a stranger."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from onlymymodel.cli.main import main
from onlymymodel.data.portraits import IDENTITY_NAMES, render
from onlymymodel.errors import UserError
from onlymymodel.evaluate.results_file import read_results
from onlymymodel.evaluate.verify_surrogates import load_surrogates
from onlymymodel.protect import run_record
from onlymymodel.surrogates.answer_cache import AnswerCache
from onlymymodel.surrogates.black_box import ClassifierBlackBox
from onlymymodel.surrogates.cached_black_box import CachedBlackBox
from onlymymodel.surrogates.classifier import Preprocess
from onlymymodel.surrogates.gallery import SCALE, GalleryHead, cosines_of, enroll
from onlymymodel.surrogates.load import load_black_box, load_model

PEOPLE = 6
PLAIN = Preprocess(height=16, width=16, fit="squash", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def portrait(identity: int, seed: int) -> NDArray[np.uint8]:
    return render(identity, seed % 7, 9_100_000 + 100 * identity + seed, 96)


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four portraits of each of the first people; their folders sort like their numbers."""
    folder = tmp_path_factory.mktemp("gallery")
    for identity in range(PEOPLE):
        person = folder / f"{identity}-{IDENTITY_NAMES[identity].lower()}"
        person.mkdir()
        for seed in range(4):
            Image.fromarray(portrait(identity, seed)).save(person / f"{seed}.png")
    return folder


class Brightness(nn.Module):
    """The mean of each color as an embedding."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.mean((2, 3))


def colors(folder: Path, **people: list[tuple[int, int, int]]) -> Path:
    for name, shades in people.items():
        (folder / name).mkdir(parents=True)
        for number, shade in enumerate(shades):
            Image.fromarray(np.full((20, 20, 3), shade, np.uint8)).save(folder / name / f"{number}.png")
    return folder


def test_logits_are_scaled_cosines_to_the_means_and_the_threshold(tmp_path: Path) -> None:
    folder = colors(tmp_path / "g", ann=[(200, 0, 0), (0, 200, 0)], bob=[(0, 0, 90)])
    gallery_model = enroll("m", Brightness(), PLAIN, folder, 0.6)
    assert gallery_model.names == ("ann", "bob", "stranger")
    photo = torch.tensor([0.5, 0.1, 0.3]).view(1, 3, 1, 1).expand(1, 3, 16, 16)
    ann, bob = F.normalize(torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]), dim=1)
    unit = F.normalize(torch.tensor([0.5, 0.1, 0.3]), dim=0)
    expected = SCALE * torch.stack([unit @ ann, unit @ bob, torch.tensor(0.6)])
    torch.testing.assert_close(gallery_model.head(photo)[0], expected)
    cosines, threshold = cosines_of(gallery_model.head(photo)[0].numpy())
    assert cosines.tolist() == pytest.approx([float(unit @ ann), float(unit @ bob)], abs=1e-6)
    assert threshold == np.float32(0.6)


def test_the_threshold_is_the_cosine_that_hardly_any_wrong_person_reaches(tmp_path: Path) -> None:
    folder = colors(tmp_path / "g", ann=[(255, 0, 0)], bob=[(0, 255, 0)], cem=[(150, 150, 0)])
    gallery_model = enroll("m", Brightness(), PLAIN, folder, None)
    cosines = sorted([0, 0, *[2**-0.5] * 4])
    assert gallery_model.head.threshold == pytest.approx(np.quantile(cosines, 0.999), abs=1e-6)


def test_another_gallery_or_threshold_is_another_one(tmp_path: Path) -> None:
    first = colors(tmp_path / "a", ann=[(255, 0, 0)], bob=[(0, 255, 0)])
    second = colors(tmp_path / "b", ann=[(255, 0, 0)], bob=[(0, 255, 1)])
    hashes = {
        enroll("m", Brightness(), PLAIN, folder, limit).sha256 for folder in (first, second) for limit in (0.5, 0.6)
    }
    assert len(hashes) == 4
    assert enroll("m", Brightness(), PLAIN, first, 0.5).sha256 in hashes


@pytest.mark.slow
def test_people_are_recognized_on_other_photos_and_strangers_are_strangers(gallery: Path) -> None:
    model = load_model(f"zoo:identity-residual?gallery={gallery}")
    assert model.card.classes == PEOPLE + 1
    assert model.card.labels[-1] == "stranger"
    assert (model.card.task, len(model.card.gallery)) == ("identity", 64)
    assert model.card.sha256 == load_model("zoo:identity-residual").card.sha256  # the weights are the same
    judge = ClassifierBlackBox(model)
    enrolled_portraits = [(identity, portrait(identity, seed)) for identity in range(PEOPLE) for seed in range(10, 14)]
    right = [int(judge.predict([photo])[0].argmax()) == identity for identity, photo in enrolled_portraits]
    assert np.mean(right) > 0.9
    others = [portrait(identity, seed) for identity in range(PEOPLE, 16) for seed in range(10, 12)]
    strangers = [int(judge.predict([photo])[0].argmax()) == PEOPLE for photo in others]
    assert np.mean(strangers) > 0.5


def test_the_margin_has_a_gradient_to_the_photo(gallery: Path) -> None:
    model = load_model(f"zoo:identity-residual?gallery={gallery}")
    photo = (torch.from_numpy(portrait(1, 20).copy()).permute(2, 0, 1)[None].float() / 255).requires_grad_()
    (gradient,) = torch.autograd.grad(model(photo)[0, 1], photo)
    assert gradient.abs().max() > 0


def test_answers_of_one_gallery_are_not_those_of_another(gallery: Path, tmp_path: Path) -> None:
    cache, photo = AnswerCache(tmp_path / "answers.sqlite3"), portrait(1, 20)
    strict, loose = (
        CachedBlackBox(load_black_box(f"zoo:identity-residual?gallery={gallery}&threshold={limit}"), cache)
        for limit in (1.0, -1.0)
    )
    assert (strict.answer(photo), loose.answer(photo)) == (PEOPLE, 1)


@pytest.mark.slow
def test_protected_for_one_recognizer_and_judged_by_others(gallery: Path, tmp_path: Path) -> None:
    source = tmp_path / "photos"
    source.mkdir()
    for identity in range(3):
        Image.fromarray(portrait(identity, 30)).save(source / f"{identity}.png")
    mine, theirs, judge = (f"zoo:identity-{kind}?gallery={gallery}" for kind in ("residual", "plain", "inception"))
    words = ["--authorized", mine, "--surrogate", theirs, "--steps", "6", "--epsilon", "16", "--kappa", "0.5"]
    out = tmp_path / "out"
    assert main(["protect", str(source), "--out", str(out), *words, "--quiet", "--device", "cpu"]) in (0, 1)
    assert main(["verify", str(out), "--quiet"]) == 0
    evaluate = ["evaluate", "--original", str(source), "--protected", str(out), "--out", str(tmp_path / "e")]
    assert main([*evaluate, "--heldout", judge, "--quiet", "--device", "cpu", "--adapt"]) == 0
    results = read_results(tmp_path / "e" / "results.json")
    assert results.authorized.score("out").kept == 1.0
    assert [row.truth for row in results.rows] == ["label"] * 4  # one gallery, one language
    assert [row.matches and row.matches.impostors for row in results.rows] == [3 * (PEOPLE - 1)] * 3 + [None]
    kept = results.rows[0].verification("out")
    assert kept is not None
    assert (kept.nearest, kept.lost) == (3, 0)
    for name in ("results.csv", "results.md", "report.html"):
        assert "rank-1" in (tmp_path / "e" / name).read_text().replace("rank1", "rank-1")
    assert set(results.authorized.names.values()) <= {*(p.name for p in gallery.iterdir()), "stranger"}


@pytest.mark.slow
def test_recorded_labels_of_another_gallery_are_refused_or_warned_of(
    gallery: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, photos, out = tmp_path / "gallery", tmp_path / "photos", tmp_path / "out"
    shutil.copytree(gallery, mine)
    photos.mkdir()
    Image.fromarray(portrait(PEOPLE - 1, 30)).save(photos / "photo.png")
    authorized, surrogate = (f"zoo:identity-{kind}?gallery={mine}" for kind in ("residual", "plain"))
    words = ["--authorized", authorized, "--surrogate", surrogate]
    quick = ["--steps", "1", "--keep-through", "exact", "--quiet", "--device", "cpu"]
    assert main(["protect", str(photos), "--out", str(out), *words, *quick]) in (0, 1)

    def evaluate(*flags: str) -> tuple[int, str]:
        capsys.readouterr()
        command = ["evaluate", "--original", str(photos), "--protected", str(out), "--out", str(tmp_path / "e"), *flags]
        return main([*command, "--quiet", "--device", "cpu"]), capsys.readouterr().err

    assert evaluate() == (0, "")
    first, *_, last = sorted(mine.iterdir())
    last.rename(mine / "0-first")
    code, error = evaluate()
    assert code == 0
    assert "its labels hold only if people or words have the same names in the same order" in error
    shutil.rmtree(first)
    code, error = evaluate()
    assert code == 2
    assert main(["verify", str(out), "--device", "cpu"]) == 2
    assert "has other classes than in the run: give its gallery" in capsys.readouterr().err
    asked = load_surrogates(out, run_record.read(out), allow_python=False, device="cpu")
    assert (asked.models, asked.missing[0]) == (
        {},
        "stand-in zoo:identity-plain: it has other classes than that of the run",
    )
    assert f"was made with {PEOPLE + 1} classes of zoo:identity-residual, which has others now" in error
    (tmp_path / "labels.csv").write_text("file,label\nphoto.png,0-first\n")
    assert evaluate("--labels", str(tmp_path / "labels.csv")) == (0, "")


@pytest.mark.parametrize("name", ["edgeface_xs", "mobilefacenet_casia"])
def test_a_real_embedder_recognizes_people_on_whole_photos(
    assets: Path, real_records: dict[str, dict[str, Any]], tmp_path: Path, name: str
) -> None:
    """Four photos of each person are enrolled, two others are asked about; found, aligned and embedded each time."""
    people = sorted(path for path in (assets / "faces" / "lfw_identity").iterdir() if path.is_dir())[:5]
    probes = []
    for number, person in enumerate(people):
        photos = sorted(person.glob("*.jpg"))
        (tmp_path / person.name).mkdir()
        for photo in photos[:4]:
            shutil.copy(photo, tmp_path / person.name)
        probes += [(number, photo) for photo in photos[4:6]]
    model = load_black_box(f"onnx:{assets / real_records[name]['file']}?fit=align&gallery={tmp_path}&threshold=0.3")
    answers = [int(model.predict([np.asarray(Image.open(photo).convert("RGB"))])[0].argmax()) for _, photo in probes]
    assert sum(answer == number for answer, (number, _) in zip(answers, probes, strict=True)) >= 9


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("gallery=nowhere", "there is no gallery folder"),
        ("gallery={gallery}&threshold=2", "a cosine, from -1 to 1"),
        ("gallery={gallery}&threshold=low", "threshold must be a number"),
        ("threshold=0.3", "for an embedder with a gallery"),
        ("gallery={flat}", "is not in a person's folder"),
        ("gallery={broken}", "cannot be read"),
        ("gallery={alone}", "add threshold=COSINE"),
        ("gallery={faceless}&fit=align&size=112", "no face was found in 1 photo of the gallery"),
    ],
)
def test_unusable_galleries_are_named(gallery: Path, tmp_path: Path, options: str, words: str) -> None:
    colors(tmp_path / "alone", ann=[(255, 0, 0)])
    colors(tmp_path / "faceless", ann=[(255, 0, 0)])
    colors(tmp_path / "broken", ann=[(255, 0, 0)])
    (tmp_path / "broken" / "ann" / "1.png").write_bytes(b"hello")
    (tmp_path / "flat").mkdir()
    Image.fromarray(portrait(0, 0)).save(tmp_path / "flat" / "0.png")
    folders = {name: tmp_path / name for name in ("alone", "faceless", "broken", "flat")}
    with pytest.raises(UserError, match=words):
        load_model("zoo:identity-plain?" + options.format(gallery=gallery, **folders))


def test_a_served_model_has_no_gallery_here(gallery: Path) -> None:
    with pytest.raises(UserError, match="gallery"):
        load_black_box(f"recorded:answers.jsonl?classes=3&gallery={gallery}")


def test_a_head_keeps_its_embedder_as_it_is() -> None:
    embedder = nn.Linear(4, 3)
    before = embedder.weight.clone()
    GalleryHead(embedder, torch.eye(3)[:2], 0.5)(torch.rand(2, 4))
    assert torch.equal(embedder.weight, before)
