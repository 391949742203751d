"""Load `zoo:` models, which are bundled with the package."""

from onlymymodel.data.manifest import sha256_file
from onlymymodel.surrogates import zoo
from onlymymodel.surrogates.loaded import Loaded
from onlymymodel.surrogates.model_card import Preprocess
from onlymymodel.surrogates.uri import ModelUri


def load_zoo(uri: ModelUri) -> Loaded:
    """Load `zoo:NAME`.

    Raises:
        UserError: no bundled model has this name.
    """
    net, record = zoo.read(uri.rest)
    preprocess = Preprocess(
        height=record["size"],
        width=record["size"],
        fit="squash",
        mean=tuple(record["mean"]),
        std=tuple(record["std"]),
    )
    card = {key: record[key] for key in ("task", "family", "parent", "licence")}
    return Loaded(net, preprocess, {**card, "labels": tuple(record["labels"])}, sha256_file(zoo.path(uri.rest)))
