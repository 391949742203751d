"""Run files: read, refused with the place of a mistake, and written."""

from dataclasses import fields
from pathlib import Path

import pytest
from run_files import MODELS, protect, read

from onlymymodel.cli.main import build_parser
from onlymymodel.cli.parser import leaves
from onlymymodel.errors import UserError
from onlymymodel.protect.attack.recipe import ADDED_LATER, Recipe, make_recipe
from onlymymodel.protect.budget.budget import Budget
from onlymymodel.settings import RunSettings
from onlymymodel.settings_file import BUDGET_TYPES, FILE_TYPES, ON_COMMAND_LINE, read_run_file
from onlymymodel.settings_partial import PartialSettings
from onlymymodel.surrogates.uri import parse_uri

WHOLE = """
authorized = "mine"
surrogates = ["vit", "zoo:identity-plain"]
heldout = ["judge"]
epsilon = 8

[models]
mine = "checkpoint:mine.safetensors?arch=timm:resnet50"
vit = { uri = "timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k", family = "vit" }
judge = { uri = "onnx:deep/judge.onnx?size=112", mean = [0.5, 0.5, 0.25], parent = "A & B", crop_pct = 1 }

[recipe]
name = "default"
steps = 30
views = ["center", "crop"]
"""


def test_a_run_file_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    run = read(tmp_path / "runs", WHOLE)
    assert run.authorized == "checkpoint:runs/mine.safetensors?arch=timm:resnet50"
    assert run.surrogates == ("timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k?family=vit", "zoo:identity-plain")
    assert run.recipe == {"name": "default", "steps": 30, "views": ("center", "crop")}
    assert (run.epsilon, run.strength) == (8, None)
    (judge,) = map(parse_uri, run.heldout)
    assert judge.rest == "runs/deep/judge.onnx"
    assert judge.options == {"size": "112", "mean": "0.5,0.5,0.25", "parent": "A & B", "crop_pct": "1"}


@pytest.mark.parametrize("place", ["runs", ".", "runs/deep"])
def test_files_are_relative_to_the_run_file_in_any_current_folder(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs" / "deep").mkdir(parents=True)
    (tmp_path / "runs" / "deep" / "judge.onnx").touch()
    (tmp_path / "runs" / "names.txt").touch()
    monkeypatch.chdir(tmp_path / place)
    run = read(tmp_path / "runs", 'heldout = ["onnx:deep/judge.onnx?labels=names.txt"]')
    judge = parse_uri(run.heldout[0])
    assert judge.file().samefile(tmp_path / "runs" / "deep" / "judge.onnx")
    assert Path(judge.options["labels"]).samefile(tmp_path / "runs" / "names.txt")


def test_an_empty_run_file_gives_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, "") == PartialSettings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("authorized = ", "is not TOML"),
        ('authorised = "zoo:a"', "unknown key 'authorised'; did you mean 'authorized'"),
        (
            'authorized = "mime"\n[models]\nmine = "zoo:a"',
            "there is no model 'mime' under [models]; did you mean 'mine'?",
        ),
        ('authorized = "zo:a"', "unknown scheme 'zo'; did you mean 'zoo'"),
        ("authorized = 3", "authorized must be the name or URI of a model, not 3"),
        ('surrogates = "zoo:a"', "surrogates must be a list of names or URIs of models, not 'zoo:a'"),
        ("surrogates = [3]", "surrogates must be a list of names or URIs of models, not [3]"),
        ('models = "zoo:a"', "models must be a table, not 'zoo:a'"),
        ("recipe = 3", "recipe must be a table, not 3"),
        ('authorized = "a"\n[models]\na = { family = "x" }', "model 'a' must be a URI, or a table with a uri"),
        ("[models]\na = 3", "model 'a' must be a URI"),
        ('surrogates = ["a"]\n[models]\na = { uri = "zoo:a", famly = "x" }', "did you mean 'family'"),
        ('surrogates = ["a"]\n[models]\na = { uri = "zoo:a?size=3", size = 4 }', "option 'size' is given twice"),
        ('authorized = "zoo:a"\nheldout = ["zoo:a"]', "model 'zoo:a' is named twice; a model can have only one role"),
        ('surrogates = ["a", "b"]\n[models]\na = "onnx:x.onnx"\nb = "onnx:./y/../x.onnx"', "only one role"),
        ('epsilon = "8"', "epsilon must be a number, not '8'"),
        ("[budget]\nsim = 0.9", "unknown key 'sim' under [budget]; did you mean 'ssim'"),
        ('[budget]\nshape = "round"', "shape under [budget] must be one of even, texture, not 'round'"),
        ("strength = 3", "strength must be text, not 3"),
        ("[budget]\nlinf = 8", "linf is epsilon, at the top"),
        ("[budget]\nepsilon = 8", "'epsilon' under [budget]; write epsilon at the top of the file, above the first ["),
        ('[recipe]\nstrength = "low"', "'strength' under [recipe]; write strength at the top of the file, above"),
        ("steps = 30", "unknown key 'steps'; write steps under [recipe]"),
        ("step-share = 0.3", "unknown key 'step-share'; write step_share under [recipe]"),
        ("ssim = 0.9", "unknown key 'ssim'; write ssim under [budget]"),
        ("[recipe]\nssim = 0.9", "unknown key 'ssim' under [recipe]; write ssim under [budget]"),
        ('labels = "labels.csv"', "unknown key 'labels'; it is given on the command line, by --labels"),
        ('out = "out"', "unknown key 'out'; it is given on the command line, by --out"),
        ("batch-size = 2", "unknown key 'batch-size'; it is given on the command line, by --batch-size"),
        ("epsilon = -8", "the budget must lie between 0 and 255 steps, not -8"),
        ('strength = "lo"', "unknown strength 'lo'; did you mean 'low'?"),
        ("[budget]\nssim = 2", "the budget's ssim must be between 0 and 1, not 2"),
        ("[recipe]\nname = 3", "name under [recipe] must be text, not 3"),
        ('[recipe]\nname = "defualt"', "unknown recipe 'defualt'; did you mean 'default'"),
        ("[recipe]\nstesp = 2", "unknown key 'stesp' under [recipe]; did you mean 'steps'"),
        ('[recipe]\nsteps = "4"', "recipe setting steps must be a whole number, not '4'"),
        ('[recipe]\nkappa = "4"', "recipe setting kappa must be a number, not '4'"),
        ("[recipe]\nguard = 1", "recipe setting guard must be true or false, not 1"),
        ("[recipe]\npush = true", "recipe setting push must be text, not true"),
        ("[recipe]\nviews = [1]", "recipe setting views must be a list of names, not [1]"),
        ("[recipe]\nkappa = -1", "kappa must not be negative"),
        ('exclude = ["a", "."]', "exclude: '.' is no glob"),
        ('[budget]\nssim = "0.9"', "ssim under [budget] must be a number, not '0.9'"),
        ("budget = 3", "budget must be a table, not 3"),
        ("epsilon = true", "epsilon must be a number, not true"),
        (
            'authorized = "plian"',
            "there is no model 'plian': write its URI, or name it under [models] (omm models lists the kinds)",
        ),
        ('authorized = "mine"\n[models]\nmine = "a.onnx"', "model 'a.onnx' has no scheme; did you mean 'onnx:a.onnx'"),
        ("keep-makernotes = true", "unknown key 'keep-makernotes'; did you mean 'keep_makernotes'"),
        ("keep_makernotes = 1", "keep_makernotes must be true or false, not 1"),
        ("exclude = 3", "exclude must be a list of globs, not 3"),
        ('metadata = "all"', "metadata must be one of keep, no-location, none, not 'all'"),
        ("strip_metadata = true", 'strip_metadata was replaced: write metadata = "none" for true'),
        ("max_pixels = 0", "max_pixels must be a whole number from 1, not 0"),
        ("max_pixels = 4e7", "max_pixels must be a whole number from 1, not 40000000.0"),
        ("max_pixels = true", "max_pixels must be a whole number from 1, not true"),
        ('format = "jpeg"', "format must be one of png, webp, not 'jpeg'"),
        ('faces = ["all"]', "faces must be one of all, largest, not ['all']"),
        ("no_face = false", "no_face must be one of skip, image, not false"),
        ("region = 3", "region must be image, face, or the path of a mask or of a folder of masks, not 3"),
        ('region = ""', "region must be image, face, or the path of a mask or of a folder of masks, not ''"),
    ],
)
def test_mistakes_are_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/run.toml")
    assert str(caught.value).count("run.toml") == 1


def test_a_key_that_is_only_a_flag_is_said_to_be_one() -> None:
    """`ON_COMMAND_LINE` lists all flags of `omm protect` that are neither keys nor name a file or a model."""
    parser = next(leaf for leaf in leaves(build_parser()) if leaf.prog == "omm protect")
    flags = {name.removeprefix("--").replace("-", "_") for action in parser.flags() for name in action.option_strings}
    words = {name for name in flags if len(name) > 2 and not name.startswith("no_")}
    keys = {*FILE_TYPES, *BUDGET_TYPES, *(setting.name for setting in fields(Recipe))}
    assert words - keys == {*ON_COMMAND_LINE, "help", "help_all", "preset", "run", "surrogate"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be"])
def test_a_run_file_may_begin_with_a_mark_of_its_encoding(encoding: str, tmp_path: Path) -> None:
    """PowerShell 5.1 writes UTF-16 by `>`, and Notepad may write UTF-8 with a mark."""
    mark = "\ufeff" if encoding.startswith("utf-16") else ""
    (tmp_path / "run.toml").write_bytes(f'{mark}region = "mäsk"\r\nsurrogates = ["zoo:b"]\r\n'.encode(encoding))
    assert read_run_file(tmp_path / "run.toml") == read(tmp_path, 'region = "mäsk"\nsurrogates = ["zoo:b"]\n')


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le", "utf-32"])
def test_a_run_file_in_another_encoding_has_to_be_saved_as_utf_8(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_bytes('region = "mäsk"\n'.encode(encoding))
    with pytest.raises(UserError, match=r"run\.toml is not text in UTF-8: save it in that encoding$"):
        read_run_file(tmp_path / "run.toml")


@pytest.mark.parametrize("flag", ["--strip-metadata", "--no-strip-metadata"])
def test_a_flag_of_an_earlier_version_names_its_replacement(flag: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{flag} was replaced by --metadata"):
        protect(tmp_path, MODELS, flag)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_bytes(b"a = '\xff'")
    for name, message in (
        ("absent.toml", "there is no run file"),
        (".", "cannot be read"),
        ("run.toml", "UTF-8"),
    ):
        with pytest.raises(UserError, match=message):
            read_run_file(tmp_path / name)


def test_a_run_file_holds_all_settings_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "left.png").touch()
    monkeypatch.chdir(tmp_path)
    settings = RunSettings(
        "checkpoint:a b/mine.safetensors?arch=timm:resnet50",
        ("zoo:identity-plain", "https://example.org/v2/models/net?classes=10"),
        ("onnx:judge.onnx?labels=names 100%26.txt",),
        Budget(9.25 / 255, ssim=0.9, l2=3.0, lpips=0.05, shape="texture", luma=3 / 255),
        make_recipe("robust", kappa=0.5, views=("center", "scales"), toward='"a"\x7f\n'),
        region="left.png",
        no_face="image",
        faces="largest",
        format="webp",
        metadata="no-location",
        max_pixels=40_000_000,
        keep_makernotes=True,
        first_frame=True,
        exclude=("*.gif",),
    )
    written = settings.to_toml(Path())
    assert protect(tmp_path, written) == settings
    assert settings.to_toml(Path()) == written
    (tmp_path / "deep").mkdir()
    assert protect(tmp_path / "deep", settings.to_toml(tmp_path / "deep")) == settings
    assert protect(tmp_path / "deep", settings.to_toml(None)) == settings  # absolute paths, relative again when read


@pytest.mark.parametrize("folder", [Path(), None])
def test_a_run_file_holds_no_secret_of_a_server(folder: Path | None, tmp_path: Path) -> None:
    written = RunSettings("zoo:a", ("zoo:b",), ("https://h/v2/models/net?classes=10&key=s3cret",)).to_toml(folder)
    assert "classes=10&key=***" in written
    assert "s3cret" not in written
    with pytest.raises(UserError, match="give the whole URI again"):
        protect(tmp_path, written)


def test_a_secret_is_in_no_error_about_a_run_file(tmp_path: Path) -> None:
    url = "https://h/v2/models/net?key=s3cret"
    for text in (f'heldout = "{url}"', f'[models]\na = {{url = "{url}"}}', f'heldout = ["{url}", "{url}"]'):
        with pytest.raises(UserError) as caught:
            protect(tmp_path, text)
        assert "s3cret" not in str(caught.value)


def test_defaults_are_left_out_of_a_run_file_except_the_recipe(tmp_path: Path) -> None:
    settings = RunSettings("zoo:a", ("zoo:b",))
    assert set(read(tmp_path, settings.to_toml(tmp_path)).recipe) == {*settings.recipe.to_json(), *ADDED_LATER}
    assert settings.to_toml(tmp_path).partition("[budget]")[0] == (
        'authorized = "zoo:a"\nsurrogates = [\n    "zoo:b",\n]\nheldout = []\nepsilon = 16\n\n'
    )
