"""Train the purifier on rendered pictures with random and adversarial changes, and measure it on separate pictures.

    python benchmarks/train_purifier.py             # about 3 minutes on 1 core

Writes the weights into the package as float16, and results/purifier.json. The pictures are dead leaves and portraits;
the adversarial changes are sign-gradient steps against bundled models; other bundled models are used for testing.
"""

import argparse
import hashlib
import json
import time
from typing import Any

import dead_leaves
import numpy as np
import torch
import torch.nn.functional as F
from assets import RESULTS
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Generator, Tensor, nn
from torchvision.transforms.functional import gaussian_blur
from tqdm import tqdm

from onlymymodel import configure, load_model
from onlymymodel.data import portraits
from onlymymodel.data.atomic import write_atomic
from onlymymodel.runtime import environment
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.purifier import BLOCKS, LAYERS, WEIGHTS, WIDTH, Purifier, purify

SEED = 20260
PATCH, BATCH, RATE = 64, 12, 3e-3
KINDS = ("clean", "sign", "smooth_sign", "gaussian", "adversarial")
EPSILONS = (2, 16)  # of 255, drawn evenly; of Gaussian noise it is the deviation
MEASURED_AT = (4, 8, 16)
SIGN_STEPS = 2
TEACHERS = ("plain", "residual", "depthwise", "vit")
UNSEEN = ("inception", "mixer")
# numbers of (dead leaves, portraits) for training and for testing; their seeds do not overlap
TRAINING, TEST = (180, 60), (24, 8)
TEST_SEED = 5_000_000


def main() -> None:
    """Train, save, and measure the saved weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1700)
    arguments = parser.parse_args()
    configure()
    torch.set_num_threads(1)
    began = time.monotonic()
    net = train(pictures(SEED, *TRAINING), arguments.steps)
    content = save({key: value.half().contiguous() for key, value in net.state_dict().items()})
    write_atomic(WEIGHTS, content)
    seconds = round(time.monotonic() - began, 1)
    result = {
        "schema": 1,
        "made_by": f"benchmarks/train_purifier.py --steps {arguments.steps}",
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "layers": LAYERS,
        "width": WIDTH,
        "seed": SEED,
        "training": {
            "steps": arguments.steps, "batch": BATCH, "patch": PATCH, "pictures": list(TRAINING), "loss": "L1",
            "kinds": list(KINDS), "epsilons": list(EPSILONS), "models": list(TEACHERS), "seconds": seconds,
        },
        "held_aside": {"dead_leaves": TEST[0], "portraits": TEST[1], "models": list(UNSEEN)},
        "psnr_db": measure(),
        "environment": environment(),
    }  # fmt: skip
    write_atomic(RESULTS / "purifier.json", (json.dumps(result, indent=1) + "\n").encode())
    print(json.dumps(result["psnr_db"], indent=1))


def pictures(seed: int, leaves: int, people: int) -> Tensor:
    """Render (leaves + people, 3, 192, 192) uint8 pictures."""
    rows = [dead_leaves.render(seed + index) for index in tqdm(range(leaves), desc="render", mininterval=10)]
    rows += [portraits.render(index % 16, index % 7, seed + index) for index in range(people)]
    return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2)


def zoo(families: tuple[str, ...]) -> list[Classifier]:
    """Load the bundled models of these families, for both tasks."""
    return [load_model(f"zoo:{task}-{family}") for task in ("identity", "emotion") for family in families]


def train(images: Tensor, steps: int) -> Purifier:
    """Train a purifier from scratch on randomly mirrored and rotated crops."""
    torch.manual_seed(SEED)
    generator = Generator().manual_seed(SEED)
    models = zoo(TEACHERS)
    net = initial_purifier().to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.05)
    with tqdm(total=steps, desc="train", mininterval=10) as bar:
        for _ in range(steps):
            clean = crops(images, generator)
            kinds = torch.randint(len(KINDS), (BATCH,), generator=generator)
            low, high = EPSILONS
            epsilons = low + (high - low) * torch.rand(BATCH, 1, 1, 1, generator=generator)
            changed = torch.empty_like(clean)
            for index, kind in enumerate(KINDS):
                rows = kinds == index
                changed[rows] = change(kind, clean[rows], epsilons[rows] / 255, models, generator)
            with torch.autocast("cpu", torch.bfloat16):  # a third of the time on a CPU with such instructions
                cleaned = net(changed.contiguous(memory_format=torch.channels_last))
            loss = F.l1_loss(cleaned.float(), clean)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            bar.set_postfix(loss=f"{loss.item():.4f}", refresh=False)
            bar.update()
    return net.to(memory_format=torch.contiguous_format).eval()


def initial_purifier() -> Purifier:
    """Return a purifier that predicts almost no change; torch's default initialization learns slowly, if at all."""
    net = Purifier()
    for name, parameter in net.named_parameters():
        if name.endswith("first.weight"):
            nn.init.kaiming_normal_(parameter, nonlinearity="relu")
        elif name.endswith("second.weight") or name == f"body.{BLOCKS + 1}.weight":
            nn.init.normal_(parameter, 0, 0.01)
    return net


def crops(images: Tensor, generator: Generator) -> Tensor:
    """Return (BATCH, 3, PATCH, PATCH) in [0,1] from random positions in random pictures, half of them at half size."""
    rows = []
    for index in torch.randint(len(images), (BATCH,), generator=generator).tolist():
        shrink = int(torch.randint(1, 3, (), generator=generator))
        side, room = PATCH * shrink, images.shape[-1] - PATCH * shrink
        top, left = torch.randint(room + 1, (2,), generator=generator).tolist()
        patch = images[index, :, top : top + side, left : left + side].float() / 255
        patch = F.avg_pool2d(patch, shrink)
        quarter, mirror = (
            torch.randint(8, (), generator=generator).item() % 4,
            torch.rand((), generator=generator) < 0.5,
        )
        patch = torch.rot90(patch, int(quarter), (1, 2))
        rows.append(patch.flip(2) if mirror else patch)
    return torch.stack(rows).mul(255).round().div(255)


def change(kind: str, clean: Tensor, epsilon: Tensor, models: list[Classifier], generator: Generator) -> Tensor:
    """Add a change of this kind to (B,3,H,W) pictures in [0,1] and round to 8 bits; epsilon is (B,1,1,1)."""
    if kind == "clean" or not len(clean):
        return clean
    noise = torch.randn(clean.shape, generator=generator)
    if kind == "smooth_sign":
        noise = gaussian_blur(noise, [13, 13], [0.7 + 2.3 * float(torch.rand((), generator=generator))])
    if kind == "adversarial":
        model = models[int(torch.randint(len(models), (), generator=generator))]
        delta = adversarial(clean, epsilon, model, noise)
    else:
        delta = epsilon * (noise if kind == "gaussian" else noise.sign())
    return (clean + delta).clamp(0, 1).mul(255).round().div(255)


def adversarial(clean: Tensor, epsilon: Tensor, model: Classifier, start: Tensor) -> Tensor:
    """Return a change within +-epsilon away from a model's clean answers: iterated gradient signs with momentum."""
    with torch.no_grad():
        answers = model(clean).argmax(1)
    delta, momentum = epsilon * start.sign() / 4, torch.zeros_like(clean)
    for _ in range(SIGN_STEPS):
        delta = delta.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(clean + delta), answers, reduction="sum"), delta)
        momentum = momentum + gradient / gradient.abs().mean((1, 2, 3), keepdim=True).clamp_min(1e-12)
        delta = (delta + epsilon / 2 * momentum.sign()).clamp(-epsilon, epsilon)
    return delta.detach()


def measure() -> dict[str, Any]:
    """Return mean test PSNR in dB before and after the saved purifier, by kind and epsilon."""
    clean = pictures(TEST_SEED, *TEST).float() / 255
    models = zoo(UNSEEN)
    rows: dict[str, Any] = {"clean": {"after": round(float(np.mean([psnr(x, purified(x)) for x in clean])), 2)}}
    for kind in KINDS[1:]:
        for epsilon in MEASURED_AT:
            generator = Generator().manual_seed(SEED)
            budget = torch.full((1, 1, 1, 1), epsilon / 255)
            changed = [change(kind, picture[None], budget, models, generator)[0] for picture in clean]
            before = [psnr(picture, other) for picture, other in zip(clean, changed, strict=True)]
            after = [psnr(picture, purified(other)) for picture, other in zip(clean, changed, strict=True)]
            figures = {"before": round(float(np.mean(before)), 2), "after": round(float(np.mean(after)), 2)}
            rows[f"{kind}-{epsilon}"] = figures
    return rows


def purified(picture: Tensor) -> Tensor:
    """Apply `purify` to a (3,H,W) picture in [0,1]."""
    image: NDArray[np.uint8] = picture.mul(255).round().byte().permute(1, 2, 0).numpy()
    return torch.from_numpy(purify(image)).permute(2, 0, 1).float() / 255


def psnr(first: Tensor, second: Tensor) -> float:
    """Return the PSNR in dB, at most 99."""
    return float(-10 * torch.log10((first - second).square().mean().clamp_min(10**-9.9)))


if __name__ == "__main__":
    main()
