"""Train the bundled tiny models on rendered portraits, and measure them on unseen portraits.

    python benchmarks/train_zoo.py                           # models without a result
    python benchmarks/train_zoo.py --only identity-vit --force

Renders are cached under .cache/; weights go into the package as float16, figures into results/zoo.json.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import multiprocessing
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn
from tqdm import tqdm

from onlymymodel.data import portraits
from onlymymodel.surrogates import zoo
from onlymymodel.surrogates.zoo.architectures import SIZE, build

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results" / "zoo.json"
LABELS = {"identity": portraits.IDENTITY_NAMES, "emotion": portraits.EMOTIONS}
PAIRS = len(portraits.IDENTITY_NAMES) * len(portraits.EMOTIONS)
# first seed and number of portraits; the ranges do not overlap
SPLITS = {"train": (0, 144 * PAIRS), "validation": (1_000_000, 10 * PAIRS), "test": (2_000_000, 20 * PAIRS)}
SEED = 20250
SUBSET = 0.8  # each model sees its own share of the training portraits
EPOCHS = {"plain": 8, "residual": 8, "depthwise": 10, "inception": 8, "vit": 18, "mixer": 14}
RATES = {"plain": 4e-3, "residual": 4e-3, "depthwise": 5e-3, "inception": 4e-3, "vit": 3e-3, "mixer": 3e-3}


def labels_of(index: int) -> tuple[int, int]:
    """Return the identity and the emotion of a portrait of a split: all pairs in turn."""
    return index % len(portraits.IDENTITY_NAMES), index // len(portraits.IDENTITY_NAMES) % len(portraits.EMOTIONS)


def resize(pixels: Tensor) -> Tensor:
    """Resize (B, 3, H, W) in [0, 1] to (B, 3, 64, 64), exactly as a classifier does at run time."""
    small = F.interpolate(pixels, (SIZE, SIZE), mode="bicubic", antialias=True, align_corners=False)
    return small.clamp(0, 1)


def _render(index: int, base: int) -> NDArray[np.float16]:
    torch.set_num_threads(1)
    identity, emotion = labels_of(index)
    image = torch.from_numpy(portraits.render(identity, emotion, base + index)).permute(2, 0, 1)
    return resize(image[None].float() / 255)[0].numpy().astype(np.float16)


def portraits_of(split: str, workers: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Return a split's (N, 3, 64, 64) float16 pixels and its (N,) labels by task, rendered once and cached."""
    base, count = SPLITS[split]
    sources = sorted((ROOT / "onlymymodel" / "data").glob("portrait*.py"))
    version = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]
    cached = ROOT / ".cache" / f"portraits-{split}-{base}-{count}-{version}.npy"
    if not cached.exists():
        cached.parent.mkdir(exist_ok=True)
        pixels = np.empty((count, 3, SIZE, SIZE), np.float16)
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            pictures = pool.imap(functools.partial(_render, base=base), range(count), chunksize=32)
            for index, picture in enumerate(tqdm(pictures, f"render {split}", count, mininterval=5)):
                pixels[index] = picture
        partial = cached.with_suffix(".partial.npy")
        np.save(partial, pixels)
        partial.replace(cached)
    pairs = torch.tensor([labels_of(index) for index in range(count)])
    return torch.from_numpy(np.load(cached)), {"identity": pairs[:, 0], "emotion": pairs[:, 1]}


def augment(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Flip, shift by up to 3 pixels, brighten or darken, and add noise."""
    count = len(pixels)
    flip = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
    pixels = torch.where(flip, pixels.flip(-1), pixels)
    left, top = torch.randint(7, (2,), generator=generator).tolist()
    pixels = F.pad(pixels, (3, 3, 3, 3), mode="replicate")[..., top : top + SIZE, left : left + SIZE]
    gain = 1 + 0.15 * (2 * torch.rand(count, 1, 1, 1, generator=generator) - 1)
    return (pixels * gain + 0.01 * torch.randn(pixels.shape, generator=generator)).clamp(0, 1)


@torch.inference_mode()
def accuracy(model: nn.Module, pixels: Tensor, labels: Tensor, mean: Tensor, std: Tensor) -> float:
    """Return the share of portraits that the model reads correctly."""
    model.eval()
    right = 0
    for chunk, answer in zip(torch.split(pixels, 256), torch.split(labels, 256), strict=True):
        right += int((model((chunk.float() - mean) / std).argmax(1) == answer).sum())
    return right / len(labels)


def fit(name: str, seed: int, pixels: Tensor, labels: Tensor, mean: Tensor, std: Tensor) -> nn.Module:
    """Train one model from scratch on its own share of the portraits."""
    task, family = name.split("-")
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = build(family, len(LABELS[task])).to(memory_format=torch.channels_last)
    chosen = torch.randperm(len(pixels), generator=generator)[: int(SUBSET * len(pixels))]
    batch, epochs = 64, EPOCHS[family]
    steps = epochs * (len(chosen) // batch)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATES[family], total_steps=steps, pct_start=0.2)
    model.train()
    with tqdm(total=steps, desc=name, mininterval=10) as bar:
        for _ in range(epochs):
            order = chosen[torch.randperm(len(chosen), generator=generator)]
            for picked in order[: len(order) // batch * batch].view(-1, batch):
                inputs = (augment(pixels[picked].float(), generator) - mean) / std
                loss = F.cross_entropy(model(inputs.to(memory_format=torch.channels_last)), labels[picked])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
                bar.update()
    return model.to(memory_format=torch.contiguous_format).eval()


def write(name: str, model: nn.Module, card: dict[str, Any]) -> str:
    """Save the weights as float16 with their card, atomically; return the file's sha256."""
    weights = {
        key: value.half().contiguous() if value.is_floating_point() else value
        for key, value in model.state_dict().items()
    }
    content = save(weights, {"card": json.dumps(card)})
    partial = zoo.path(name).with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(zoo.path(name))
    return hashlib.sha256(content).hexdigest()


def train(name: str, workers: int) -> dict[str, Any]:
    """Train, round, measure and save one model; return its row for the results."""
    began, (task, family) = time.monotonic(), name.split("-")
    data = {split: portraits_of(split, workers) for split in SPLITS}
    pixels, labels = data["train"]
    means = [round(value, 3) for value in pixels.float().mean((0, 2, 3)).tolist()]
    stds = [round(value, 3) for value in pixels.float().std((0, 2, 3)).tolist()]
    mean, std = torch.tensor(means).view(3, 1, 1), torch.tensor(stds).view(3, 1, 1)
    seed = SEED + zoo.NAMES.index(name)
    model = fit(name, seed, pixels, labels[task], mean, std).half().float()  # as it will be loaded
    scores = {split: accuracy(model, data[split][0], data[split][1][task], mean, std) for split in SPLITS}
    card = {
        "task": task,
        "family": family,
        "labels": LABELS[task],
        "size": SIZE,
        "mean": means,
        "std": stds,
        "parent": f"onlymymodel-zoo-{name}",
        "accuracy": round(scores["test"], 4),
        "seed": seed,
        "licence": "MIT",
    }
    digest = write(name, model, card)
    return {
        "accuracy": card["accuracy"],
        "portraits": SPLITS["test"][1],
        "training_accuracy": round(scores["train"], 4),
        "validation_accuracy": round(scores["validation"], 4),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "bytes": zoo.path(name).stat().st_size,
        "sha256": digest,
        "seed": seed,
        "seconds": round(time.monotonic() - began, 1),
    }


def done(name: str, rows: dict[str, Any]) -> bool:
    """Return whether the weights on disk are those of the results."""
    file = zoo.path(name)
    return file.exists() and rows.get(name, {}).get("sha256") == hashlib.sha256(file.read_bytes()).hexdigest()


def main() -> int:
    """Train the requested models that are not done, writing the results after every model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=zoo.NAMES, default=zoo.NAMES, metavar="NAME")
    parser.add_argument("--force", action="store_true", help="train models again that are done")
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of torch; nets this small gain little from more"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes that render")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows: dict[str, Any] = json.loads(RESULTS.read_text())["models"] if RESULTS.exists() else {}
    for name in args.only:
        if done(name, rows) and not args.force:
            print(f"{name}: done, accuracy {rows[name]['accuracy']:.1%}")
            continue
        rows[name] = train(name, args.workers)
        print(f"{name}: {rows[name]}", flush=True)
        environment = {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "machine": f"{platform.machine()} CPU, threads: {args.threads}",
            "seed": SEED,
            "command": "python benchmarks/train_zoo.py",
        }
        ordered = {key: rows[key] for key in zoo.NAMES if key in rows}
        RESULTS.write_text(json.dumps({"environment": environment, "models": ordered}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
