"""Architecture families: the libraries spell one name in several ways."""

import re

# words before a name that say who trained, ported or changed a network, not what it is
PREFIXES = (
    "tf_", "tv_", "gluon_", "legacy_", "test_", "dm_", "nf_", "eca_", "ese_", "gc_", "bat_", "lambda_", "wide_",
)  # fmt: skip
# names of several words, whose first one alone is another family
LONGER = {"inception_resnet": "inception-resnet", "inception_next": "inception-next"}
# first words that mean one family
SAME = {"regnetx": "regnet", "regnety": "regnet", "regnetz": "regnet", "googlenet": "inception"}


def family_of(name: str) -> str:
    """The family of an architecture, or of a family however it is written: resnet50 -> resnet, vit_tiny -> vit.

    Versions are one family: mobilenetv2_100, mobilenet_v3_large -> mobilenet. What is no name of letters, digits,
    dots and underscores, such as `resnet (basic)`, is somebody's own word and stays whole, in lower case.
    """
    name = name.casefold()
    if not re.fullmatch(r"[a-z][a-z0-9_.]*", name):
        return name
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    for start, family in LONGER.items():
        if name.startswith(start):
            return family
    word = re.split(r"[0-9_.]", name, maxsplit=1)[0].removesuffix("v")
    return SAME.get(word, word)
