"""Architecture families, from names that the libraries spell in several ways."""

import re

# prefixes that tell who trained, ported or changed a network, not its architecture
PREFIXES = (
    "tf_", "tv_", "gluon_", "legacy_", "test_", "dm_", "nf_", "eca_", "ese_", "gc_", "bat_", "lambda_", "wide_",
)  # fmt: skip
# families of several words, whose first word alone is another family
COMPOUND = {"inception_resnet": "inception-resnet", "inception_next": "inception-next"}
# first words that are another spelling of a family
ALIASES = {"regnetx": "regnet", "regnety": "regnet", "regnetz": "regnet", "googlenet": "inception", "rn": "resnet"}


def family_of(name: str) -> str:
    """Return the family of an architecture, or a family in its common spelling: resnet50 -> resnet, vit_tiny -> vit.

    Versions are one family: mobilenetv2_100, mobilenet_v3_large -> mobilenet. A name with other characters than
    letters, digits, dots and underscores, such as `resnet (basic)`, is user-defined and is only put in lower case.
    """
    name = name.casefold()
    if not re.fullmatch(r"[a-z][a-z0-9_.]*", name):
        return name
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    for start, family in COMPOUND.items():
        if name.startswith(start):
            return family
    word = re.split(r"[0-9_.]", name, maxsplit=1)[0].removesuffix("v")
    return ALIASES.get(word, word)
