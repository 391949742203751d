"""One family has one name, in the spelling of any library."""

import pytest
import timm
import torchvision

from onlymymodel.surrogates.family import family_of

NAMES = (*timm.list_models(), *torchvision.models.list_models(module=torchvision.models))


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("mobilenet_v2", "mobilenet"),
        ("mobilenetv2_100", "mobilenet"),
        ("tf_mobilenetv3_large_100", "mobilenet"),
        ("regnet_y_400mf", "regnet"),
        ("regnety_004", "regnet"),
        ("regnetv_040", "regnet"),
        ("efficientnet_b0", "efficientnet"),
        ("tf_efficientnet_b0", "efficientnet"),
        ("efficientnet_v2_s", "efficientnet"),
        ("tf_efficientnetv2_s.in21k", "efficientnet"),
        ("swin_v2_t", "swin"),
        ("swinv2_tiny_window8_256", "swin"),
        ("resnet50", "resnet"),
        ("wide_resnet50_2", "resnet"),
        ("resnext50_32x4d", "resnext"),
        ("vit_b_16", "vit"),
        ("test_vit", "vit"),
        ("inception_v3", "inception"),
        ("googlenet", "inception"),
        ("inception_resnet_v2", "inception-resnet"),
        ("inception_next_tiny", "inception-next"),
        ("MobileNet", "mobilenet"),
        ("resnet (basic)", "resnet (basic)"),
        ("VGG-like", "vgg-like"),
        ("", ""),
    ],
)
def test_the_family_of_a_name(name: str, family: str) -> None:
    assert family_of(name) == family


def test_every_name_has_a_family_and_a_familys_family_is_itself() -> None:
    for name in NAMES:
        assert family_of(name)
        assert family_of(family_of(name)) == family_of(name)


def test_names_that_the_libraries_share_are_of_one_family() -> None:
    """torchvision's efficientnet_b0 and timm's; and timm's own ports of torchvision's, such as regnetx_004_tv."""
    shared = set(timm.list_models()) & set(torchvision.models.list_models(module=torchvision.models))
    assert len(shared) >= 20
    ports = {name: f"regnet_{name[6]}" for name in NAMES if name.startswith("regnet") and name.endswith("_tv")}
    assert ports
    assert all(family_of(name) == family_of(theirs) for name, theirs in ports.items())


def test_ported_networks_keep_their_family() -> None:
    families = {family_of(name) for name in NAMES if name.startswith("tf_")}
    assert families == {"efficientnet", "mixnet", "mobilenet"}
