"""The choices of models on the page: the presets, and the bundled models for rendered portraits."""

from dataclasses import dataclass

from onlymymodel.app.visibility import stop_of
from onlymymodel.demo import BUNDLED
from onlymymodel.presets.preset import PRESETS, load_preset
from onlymymodel.protect.budget.strengths import DEFAULT, STRENGTHS
from onlymymodel.protect.region import WHOLE
from onlymymodel.settings_partial import PartialSettings
from onlymymodel.surrogates.uri import lacks_gallery, redacted

PORTRAITS = "portraits"
# title and meaning, for people
WORDS = {
    "photos": ("Photos of things and places", "an image classifier, ResNet-50, may still read them"),
    "faces": ("Portraits", "one face recognition model, FaceNet, may still know the person"),
    "people-in-photos": ("People in photos", "the same for every face; the rest stays as it is"),
    PORTRAITS: (
        "Rendered portraits",
        "to try the page without a download: small bundled models, which know sixteen rendered faces only",
    ),
}


@dataclass(frozen=True)
class Choice:
    """One choice of models, with the settings that it brings along.

    Attributes:
        key: its name in the form.
        title, meaning: for people.
        authorized, surrogates, heldout: URIs of the models.
        visibility: stop of the slider, see `visibility.STOPS`.
        gallery: whether it needs a folder of people.
        region: the kind of region that may change.
    """

    key: str
    title: str
    meaning: str
    authorized: str
    surrogates: tuple[str, ...]
    heldout: tuple[str, ...]
    visibility: int
    gallery: bool
    region: str


def settings_of(key: str) -> PartialSettings:
    """Return the settings of a choice.

    Raises:
        UserError: there is no such choice.
    """
    if key == PORTRAITS:
        return PartialSettings(
            BUNDLED.authorized, BUNDLED.surrogates, BUNDLED.heldout, recipe={"name": BUNDLED.recipe.name}
        )
    return load_preset(key)


def choices() -> list[Choice]:
    """Return all choices, in the order of the page."""
    return [_choice(key) for key in (*PRESETS, PORTRAITS)]


def _choice(key: str) -> Choice:
    title, meaning = WORDS.get(key) or (key, PRESETS[key])
    settings = settings_of(key)
    uris = (settings.authorized or "", *settings.surrogates, *settings.heldout)
    return Choice(
        key,
        title,
        meaning,
        redacted(uris[0]),
        tuple(map(redacted, settings.surrogates)),
        tuple(map(redacted, settings.heldout)),
        stop_of(STRENGTHS[settings.strength or DEFAULT].ssim),
        any(map(lacks_gallery, uris)),
        settings.region or WHOLE.kind,
    )
