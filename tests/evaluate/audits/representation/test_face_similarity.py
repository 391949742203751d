"""Perceptual distance and identity of pictures."""

import pytest
import torch
from torch import nn

from onlymymodel.evaluate.audits.pictures import Pictures, portrait_pictures
from onlymymodel.evaluate.audits.representation.face_similarity import FaceSimilarity, embeddings
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.load import load_model


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return portrait_pictures(64, 16)


@pytest.fixture(scope="module")
def embedder() -> Classifier:
    return load_model("zoo:identity-residual")


@pytest.mark.slow
def test_face_similarity_of_equal_pictures(pictures: Pictures, embedder: Classifier) -> None:
    face_similarity = FaceSimilarity.centered_on(embedder, pictures.pixels)
    first, other = pictures.pixels[:8], pictures.pixels[8:16]
    torch.testing.assert_close(face_similarity.identity_cosine(first, first), torch.ones(8))
    assert face_similarity.perceptual(first, first).tolist() == [0] * 8
    assert (face_similarity.perceptual(first, other) > 0).all()
    # two batches of 8 different people
    assert face_similarity.identity_cosine(first, other).mean() < 0.5


def test_embeddings_are_the_inputs_of_the_last_linear_layer(pictures: Pictures, embedder: Classifier) -> None:
    last = [module for module in embedder.net.modules() if isinstance(module, nn.Linear)][-1]
    computed = embeddings(embedder, pictures.pixels[:4])
    torch.testing.assert_close(last(computed), embedder(pictures.pixels[:4]))
