"""Face networks of facenet-pytorch: the only file that imports it."""

from facenet_pytorch import InceptionResnetV1
from torch import nn

from onlymymodel.surrogates.classifier import Preprocess

PEOPLE = {"vggface2": 8631, "casia-webface": 10575}
PREPROCESS = Preprocess(
    height=160, width=160, crop_pct=1.0, interpolation="bilinear", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
)


def identity_network(weights: str) -> nn.Module:
    """InceptionResnetV1 with the classifier over the people of its training set (`PEOPLE`); may download."""
    network: nn.Module = InceptionResnetV1(pretrained=weights, classify=True)
    return network
