"""Measure a run on a GPU in less than six minutes; called by benchmarks/gpu.sh.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --batches 16 64 --size 224

- *images*: whole photos a second, from their files to the checked files, for growing batches, with the largest memory
  that torch took. The networks are those of the other benchmarks where their weights are there, else architectures of
  timm with random weights, whose answer a small change never turns, so that no repair is measured.
- *profile*: steps of the optimizer under torch's profiler: the share of the device's time that is spent in operations
  of networks (convolutions, matrix products, normalization, attention, activations, pooling, by their names), and the
  share of the time in which the device computes at all.
- *verdicts*: rendered portraits, protected with the bundled models on this device and on the CPU: status and answers
  have to be equal; how many files have the same bytes is counted, and need not be all.

A part that would begin after its share of `--seconds` is left out, and is named. Writes results/gpu.json.
"""

import argparse
import io
import json
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import timm
import torch
from assets import ASSETS, RESULTS, uri
from PIL import Image
from torch import nn
from torch.profiler import ProfilerActivity, profile

from onlymymodel import Budget, configure, load_model, make_recipe
from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.image_io import decode
from onlymymodel.data.manifest import json_bytes
from onlymymodel.data.pixels import to_tensor
from onlymymodel.data.portraits import render
from onlymymodel.protect.attack.batch import AttackBatch, SurrogateTargets
from onlymymodel.protect.attack.optimizer import optimize
from onlymymodel.protect.attack.uint8 import to_float
from onlymymodel.protect.context import Context, PhotoSource
from onlymymodel.protect.photo import photo_generator, protect_photos
from onlymymodel.runtime import environment, pick_device
from onlymymodel.surrogates.classifier import Classifier
from onlymymodel.surrogates.model_card import ModelCard, Preprocess

# the first is authorized
REAL = ("resnet50", "resnet18", "vit_tiny", "squeezenet1_1", "mobilenet_v2")
ARCHITECTURES = ("resnet50", "resnet18", "vit_tiny_patch16_224", "mobilenetv2_100")
SURENESS = 1000.0  # factor of the logits of random networks
BUNDLED = ("zoo:identity-residual", "zoo:identity-plain", "zoo:identity-vit")
BATCHES, SIZE, STEPS, PROFILED_STEPS, PORTRAITS = (1, 8, 32, 64), 224, 60, 6, 12
SECONDS = 330.0
SHARES = {"verdicts": 0.0, "profile": 0.4, "images": 0.6}  # of the seconds that may be gone when a part begins
SEED = 9_000_100
# parts of names of operations, as torch calls them
OF_NETWORKS = (
    "conv", "addmm", "::mm", "::bmm", "baddbmm", "matmul", "linear", "batch_norm", "layer_norm", "attention", "relu",
    "gelu", "silu", "hardtanh", "hardswish", "sigmoid", "pool", "softmax",
)  # fmt: skip
TOP = 12
MIB = 1 << 20


def main() -> None:
    """Measure all parts, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--size", type=int, default=SIZE, help="pixels of the photos and of the networks' inputs")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--portraits", type=int, default=PORTRAITS)
    parser.add_argument("--architectures", nargs="+", help="of timm, with random weights")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--out", type=Path, default=RESULTS / "gpu.json")
    arguments = parser.parse_args()
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("no CUDA device is available here: nothing was measured")
    configure()
    device, began = pick_device(arguments.device), time.monotonic()

    def late(part: str) -> bool:
        return bool(time.monotonic() - began > SHARES[part] * arguments.seconds)

    left_out = []
    content: dict[str, Any] = {"schema": 1, "made_by": f"benchmarks/gpu.py {' '.join(sys.argv[1:])}".strip()}
    content["verdicts"] = measure_verdicts(device, arguments.portraits, arguments.steps)
    context = make_context(arguments.architectures, arguments.size, arguments.steps, device)
    if late("profile"):
        left_out.append("profile")
    else:
        content["profile"] = measure_profile(context, arguments.batches[-1], arguments.size)
    content["models"] = [model.card.uri for model in (context.authorized, *context.surrogates)]
    content["images"] = []
    for precision in ("float32", "bfloat16"):
        recipe = replace(context.recipe, precision=precision)
        for batch in arguments.batches:
            if late("images"):
                left_out.append(f"images: {precision}, batch {batch}")
                continue
            found = measure_images(replace(context, recipe=recipe), batch, arguments.size)
            content["images"].append({"precision": precision, "batch": batch, **found})
            print(content["images"][-1], flush=True)
    content |= {
        "left_out": left_out,
        "seconds": round(time.monotonic() - began, 1),
        "environment": environment(device),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(arguments.out, json_bytes(content, indent=1))
    print(json.dumps({name: content[name] for name in ("verdicts", "left_out", "seconds")}))


def make_context(architectures: Sequence[str] | None, size: int, steps: int, device: torch.device) -> Context:
    """Return a context of the real networks, or of networks of timm with random weights."""
    if architectures is None and (ASSETS / "models.json").exists():
        models = [load_model(uri(name), device=device) for name in REAL]
    else:
        names = architectures or ARCHITECTURES
        models = [random_network(name, SEED + index, size).to(device) for index, name in enumerate(names)]
    authorized, *surrogates = models
    return Context(authorized, tuple(surrogates), Budget(8 / 255), make_recipe("default", steps=steps))


def random_network(architecture: str, seed: int, size: int) -> Classifier:
    """Return a network of timm with random weights, sure of its answer."""
    torch.manual_seed(seed)
    options: dict[str, Any] = {"img_size": size} if architecture.startswith("vit") else {}
    net = timm.create_model(architecture, pretrained=False, **options)
    with torch.no_grad():
        head: nn.Module = net.get_classifier()  # type: ignore[operator]
        for parameter in head.parameters():
            parameter.mul_(SURENESS)
    preprocess = Preprocess(height=size, width=size)
    card = ModelCard(architecture, sha256=architecture, classes=1000, preprocess=preprocess, task="random")
    return Classifier(net, card)


def portraits(count: int, side: int) -> list[PhotoSource]:
    """Return rendered portraits as PNG files."""
    files = []
    for index in range(count):
        file = io.BytesIO()
        Image.fromarray(render(index % 16, index % 7, SEED + index, side)).save(file, "PNG")
        files.append(PhotoSource(file.getvalue()))
    return files


def measure_images(context: Context, batch: int, side: int) -> dict[str, Any]:
    """Return photos a second of one batch, after a warm-up of a few steps, where the time went, and the memory."""
    sources, device = portraits(batch, side), context.device
    protect_photos(sources, replace(context, recipe=replace(context.recipe, steps=2)), batch_size=batch)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    stages: dict[str, float] = {}

    def on_stage(stage: str) -> None:
        synchronize(device)
        stages[stage] = time.monotonic()

    began = time.monotonic()
    protect_photos(sources, context, batch_size=batch, on_stage=on_stage)
    synchronize(device)
    times = [*stages.values(), time.monotonic()]
    return {
        "seconds": round(times[-1] - began, 3),
        "images_per_second": round(batch / (times[-1] - began), 3),
        "seconds_by_stage": {
            stage: round(end - start, 3) for stage, start, end in zip(stages, times, times[1:], strict=False)
        },
        "peak_mib": round(peak_bytes(device) / MIB),
    }


def measure_profile(context: Context, batch: int, side: int) -> dict[str, Any]:
    """Return where the optimizer's steps spend the device's time."""
    sources, device = portraits(batch, side), context.device
    recipe = replace(context.recipe, steps=PROFILED_STEPS)
    photos = to_float(torch.stack([to_tensor(decode(source.data).pixels) for source in sources])).to(device)
    with torch.no_grad():
        labels = context.authorized(photos).argmax(1)

    def steps() -> float:
        attack = AttackBatch(
            originals=photos,
            labels=labels,
            targets=[SurrogateTargets(labels, torch.ones(batch, device=device))] * len(context.surrogates),
            budgets=[context.budget] * batch,
            generators=[photo_generator(0, source.data) for source in sources],
        )
        synchronize(device)
        began = time.monotonic()
        optimize(attack, authorized=context.authorized, surrogates=context.surrogates, recipe=recipe)
        synchronize(device)
        return time.monotonic() - began

    steps()
    seconds = steps()
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as profiled:
        steps()
    # rows of operations; those of kernels have the same time once more
    rows = [row for row in profiled.key_averages() if row.key.startswith("aten::")]
    spent = {row.key: float(row.self_device_time_total if on_gpu else row.self_cpu_time_total) / 1e6 for row in rows}
    total = sum(spent.values())
    of_networks = sum(value for name, value in spent.items() if any(part in name for part in OF_NETWORKS))
    largest = sorted(spent.items(), key=lambda item: -item[1])[:TOP]
    return {
        "batch": batch,
        "steps": PROFILED_STEPS,
        "seconds_without_profiler": round(seconds, 3),
        "device_seconds": round(total, 3),
        "share_in_networks": round(of_networks / total, 4),
        # above 1 only on a CPU, where the profiler itself takes time
        "share_of_time_computing": round(total / seconds, 4),
        "largest": {name: round(value / total, 4) for name, value in largest},
    }


def measure_verdicts(device: torch.device, count: int, steps: int) -> dict[str, Any]:
    """Return how many photos have the status and the answers on the device that they have on the CPU.

    The attack itself may go another way, since sums have another order; verdicts are those on the written files. So
    the files that the device wrote are also judged by the CPU.
    """
    sources, written, found = portraits(count, 128), [], []
    for place in (torch.device("cpu"), device):
        authorized, *surrogates = (load_model(uri, device=place) for uri in BUNDLED)
        recipe = make_recipe("default", steps=steps)
        context = Context(authorized, tuple(surrogates), Budget(8 / 255), recipe)
        results = protect_photos(sources, context)
        written.append([data for data, _ in results])
        found.append([(record.status, _classes(record.to_json())) for _, record in results])
    on_cpu, here = found
    agree = judged_alike(written[1], device)
    return {
        "photos": count,
        "same_status": sum(one[0] == other[0] for one, other in zip(on_cpu, here, strict=True)),
        "same_status_and_answers": sum(one == other for one, other in zip(on_cpu, here, strict=True)),
        "same_bytes": sum(one == other for one, other in zip(*written, strict=True)),
        "files": len([data for data in written[1] if data is not None]),
        "files_judged_alike": agree,
    }


def _classes(record: dict[str, Any]) -> list[Any]:
    """Return the classes that the models answered before and after."""
    answers = [record["authorized"], *(record["surrogates"] or ())]
    return [[answer[key] for key in sorted(answer) if "class" in key] for answer in answers if answer]


def judged_alike(files: Sequence[bytes | None], device: torch.device) -> int:
    """Return the number of files about which all models answer alike on the device and on the CPU."""
    models = [[load_model(uri, device=place) for uri in BUNDLED] for place in (torch.device("cpu"), device)]
    alike = 0
    with torch.inference_mode():
        for data in filter(None, files):
            pixels = to_float(to_tensor(decode(data).pixels)[None])
            answers = [[int(model(pixels.to(model.mean.device)).argmax(1)) for model in side] for side in models]
            alike += answers[0] == answers[1]
    return alike


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_bytes(device: torch.device) -> int:
    """Return the largest number of bytes that torch took on a GPU, or this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
