"""Addresses of facenet-pytorch's weights. Importing this module does not import torch."""

RELEASE = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9"
ADDRESSES = {
    "vggface2": f"{RELEASE}/20180402-114759-vggface2.pt",
    "casia-webface": f"{RELEASE}/20180408-102900-casia-webface.pt",
}
