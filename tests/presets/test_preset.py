"""The bundled run files: complete, valid against the libraries' own lists of weights, and overridden by flags."""

from pathlib import Path

import pytest
import timm
import torchvision

from onlymymodel.cli.given import settings_given
from onlymymodel.cli.main import build_parser, main
from onlymymodel.errors import UserError
from onlymymodel.presets.preset import FOLDER, PRESETS, load_preset, preset_text
from onlymymodel.settings import RunSettings
from onlymymodel.settings_file import read_run_file
from onlymymodel.surrogates.facenet import PEOPLE
from onlymymodel.surrogates.family import family_of
from onlymymodel.surrogates.uri import ModelUri, parse_uri

OF_PEOPLE = ("faces", "people-in-photos")


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """An empty gallery: settings only check that the folder is there."""
    (tmp_path / "people & friends").mkdir()
    return tmp_path / "people & friends"


def given(*flags: str) -> RunSettings:
    """The settings of `omm protect` with these flags."""
    return settings_given(build_parser().parse_args(["protect", "photos", "--out", "out", *flags])).complete()


def complete(name: str, people: Path) -> RunSettings:
    return given("--preset", name, *(["--gallery", str(people)] if name in OF_PEOPLE else []))


def test_every_file_of_the_folder_is_a_preset() -> None:
    assert {path.stem for path in FOLDER.glob("*.toml")} == set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_four_stand_ins_and_two_judges_of_other_families(name: str, people: Path) -> None:
    settings = complete(name, people)
    assert (len(settings.surrogates), len(settings.heldout)) == (4, 2)

    def families(*uris: str) -> set[str]:
        return {_family(parse_uri(uri)) for uri in uris}

    assert not families(*settings.heldout) & families(settings.authorized, *settings.surrogates)


@pytest.mark.parametrize("name", PRESETS)
def test_the_libraries_have_the_weights_that_a_preset_names(name: str, people: Path) -> None:
    for text in complete(name, people).models:
        uri = parse_uri(text)
        if uri.scheme == "timm":
            assert uri.rest in timm.list_pretrained()
        elif uri.scheme == "torchvision":
            network, _, tag = uri.rest.partition("@")
            assert tag in torchvision.models.get_model_weights(network).__members__
        elif uri.scheme == "facenet":
            assert uri.rest in PEOPLE
        else:
            assert (uri.scheme, uri.rest.count("/")) == ("hf-hub", 1)


@pytest.mark.parametrize("name", OF_PEOPLE)
def test_the_gallery_goes_to_every_model(name: str, people: Path) -> None:
    assert [parse_uri(uri).options["gallery"] for uri in complete(name, people).models] == [str(people)] * 7
    with pytest.raises(UserError, match=r"name a folder with one folder of photos for each person.*--gallery PEOPLE"):
        given("--preset", name)
    with pytest.raises(UserError, match="there is no gallery folder"):
        given("--preset", name, "--gallery", str(people / "missing"))


def test_a_gallery_that_no_model_takes_is_an_error(people: Path) -> None:
    with pytest.raises(UserError, match="no model takes it: write gallery="):
        given("--preset", "photos", "--gallery", str(people))


@pytest.mark.parametrize("name", OF_PEOPLE)
def test_an_edited_copy_names_its_gallery_relative_to_itself(
    name: str, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = people.parent / "run.toml"
    edited = preset_text(name).replace('# gallery = "PEOPLE"', f'gallery = "{people.name}"')
    copy.write_text(edited, encoding="utf-8")
    (people.parent / "elsewhere").mkdir()
    monkeypatch.chdir(people.parent / "elsewhere")
    settings = read_run_file(copy).complete()
    assert Path(parse_uri(settings.authorized).options["gallery"]).samefile(people)
    assert settings.recipe == complete(name, people).recipe


def test_flags_win_over_a_preset_as_over_a_run_file() -> None:
    preset = load_preset("photos").complete()
    settings = given("--preset", "photos", "--epsilon", "3", "--steps", "7", "--surrogate", "zoo:identity-vit")
    assert settings.budget.linf == pytest.approx(3 / 255)
    assert (settings.recipe.name, settings.recipe.steps) == ("default", 7)
    assert (settings.authorized, settings.surrogates) == (preset.authorized, ("zoo:identity-vit",))


def test_an_unknown_preset_suggests_a_near_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["protect", str(tmp_path), "--out", str(tmp_path / "out"), "--preset", "foto"]) == 2
    assert main(["preset", "show", "foto"]) == 2
    message = "omm: there is no preset 'foto'; did you mean 'photos'?"
    assert capsys.readouterr().err.splitlines() == [message] * 2


def test_a_preset_and_a_run_file_are_not_taken_together() -> None:
    with pytest.raises(UserError, match="--run cannot be given together with --preset"):
        given("--preset", "photos", "--run", "run.toml")


def test_presets_are_listed_and_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preset", "list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(PRESETS)
    for name in PRESETS:
        assert main(["preset", "show", name]) == 0
        assert capsys.readouterr().out == (FOLDER / f"{name}.toml").read_text(encoding="utf-8")


def _family(uri: ModelUri) -> str:
    if uri.scheme == "facenet":
        return "inception-resnet"
    return family_of(uri.rest.rpartition("/")[2].partition("@")[0].partition(".")[0])
