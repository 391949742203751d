"""Load `facenet:` models: the recognition networks of facenet-pytorch."""

import torch
from facenet_pytorch import InceptionResnetV1
from torch import nn

from onlymymodel.errors import UserError, did_you_mean
from onlymymodel.surrogates.loaded import Loaded
from onlymymodel.surrogates.model_card import Preprocess
from onlymymodel.surrogates.uri import ModelUri
from onlymymodel.surrogates.weights import readable, weight_paths

PEOPLE = {"vggface2": 8631, "casia-webface": 10575}  # number of people in each training set
PREPROCESS = Preprocess(
    height=160, width=160, crop_pct=1.0, interpolation="bilinear", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
)


def load_facenet(uri: ModelUri) -> Loaded:
    """Load `facenet:vggface2` or `facenet:casia-webface`; an embedder if the URI has a gallery or `task=embedding`.

    Raises:
        UserError: another name, or the weights cannot be downloaded.
    """
    if uri.rest not in PEOPLE:
        raise UserError(f"model {uri.text!r}{did_you_mean(uri.rest, PEOPLE)}")
    net = identity_network(uri.rest, embed="gallery" in uri.options or uri.options.get("task") == "embedding")
    (path,) = weight_paths(uri).values()
    with readable(uri):
        net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    record = {"task": "identity", "family": "inception-resnet", "parent": f"facenet-pytorch-{uri.rest}"}
    return Loaded(net, PREPROCESS, record)


def identity_network(weights: str, *, embed: bool = False) -> nn.Module:
    """Return an untrained InceptionResnetV1 (Schroff et al., CVPR 2015; Szegedy et al., AAAI 2017).

    Args:
        weights: a key of `PEOPLE`.
        embed: whether to return (B,512) embeddings of length 1 instead of logits over the people of its training set.
    """
    network: nn.Module = InceptionResnetV1(classify=True, num_classes=PEOPLE[weights])
    network.classify = not embed  # type: ignore[assignment]
    return network
