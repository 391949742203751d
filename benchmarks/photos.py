"""The main job on 40 real photos: protect with each recipe and budget, judge the written files with held-out models.

    uv run python benchmarks/photos.py                     # everything; resumable, about 40 minutes on 2 cores
    uv run python benchmarks/photos.py --recipes default --epsilons 16

Authorized resnet50; surrogates resnet18, vit_tiny, squeezenet1_1, mobilenet_v2; held out shufflenet_v2_x1_0 and
mobilenet_v1_075, which ONNX Runtime runs and whose gradients nobody sees. One JSON for each cell in results/photos/.
"""

import argparse
import json
import shlex
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

from assets import ASSETS, RESULTS, WORK, uri

from onlymymodel import Judge, Pair, evaluate_models, load_black_box
from onlymymodel.cli import main as omm
from onlymymodel.data.atomic import write_atomic
from onlymymodel.data.image_io import decode
from onlymymodel.data.manifest import Manifest
from onlymymodel.protect.folder import MANIFEST
from onlymymodel.protect.photo import Record
from onlymymodel.protect.run_record import read

AUTHORIZED = "resnet50"
SURROGATES = ("resnet18", "vit_tiny", "squeezenet1_1", "mobilenet_v2")
HELD_OUT = ("shufflenet_v2_x1_0", "mobilenet_v1_075")
PHOTOS = ASSETS / "imagenet" / "photos"
# the family's authors share recipe and padding, the weights do not
REMARK = "mobilenet_v1_075 (held out) and mobilenet_v2 (surrogate) are independent weights of one maker's recipe"


def main() -> None:
    """Run the cells that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=["default", "ens", "fmd"])
    parser.add_argument("--epsilons", nargs="+", type=int, default=[16, 8])
    arguments = parser.parse_args()
    for recipe in arguments.recipes:
        for epsilon in arguments.epsilons:
            run_cell(recipe, epsilon)


def run_cell(recipe: str, epsilon: int) -> None:
    """Protect (or go on protecting), judge, and write one JSON."""
    out = WORK / "photos" / f"{recipe}-{epsilon}"
    command = [
        "protect", str(PHOTOS), "--authorized", uri(AUTHORIZED), "--surrogate", *map(uri, SURROGATES),
        "--labels", str(PHOTOS / "labels.csv"), "--recipe", recipe, "--epsilon", str(epsilon), "--device", "cpu",
    ]  # fmt: skip
    code = omm([*command, "--out", str(out)])
    if code not in (0, 1):
        raise SystemExit(code)
    manifest = list(Manifest(out / MANIFEST).by_source().values())
    protected = [record for record in manifest if record["status"] == "protected"]
    judges = [Judge("authorized", load_black_box(uri(AUTHORIZED)))]
    judges += [Judge("surrogate", load_black_box(uri(name))) for name in SURROGATES]
    judges += [Judge("held-out", load_black_box(uri(name))) for name in HELD_OUT]
    rows = evaluate_models(judges, [pair_of(out, record) for record in manifest])
    content = {
        "schema": 1,
        "command": shlex.join(["omm", *command, "--out", "DST"]),
        "made_by": f"benchmarks/photos.py --recipes {recipe} --epsilons {epsilon}",
        "remark": REMARK,
        "recipe": recipe,
        "epsilon": epsilon,
        "photos": len(manifest),
        # all photos are judged: where nothing was written, the original is what leaves the person's hands
        "judged": "all photos; originals in the place of those that are not protected",
        "protected_right": sum(record["authorized"]["answer_after"] == record["label"] for record in protected),
        "statuses": Counter(record["status"] for record in manifest),
        "distortion": distortion(manifest),
        "seconds": round(sum(record["seconds"] or 0 for record in manifest), 1),
        "rows": [row.to_json() for row in rows],
        "run": {key: value for key, value in read(out).items() if key not in ("models", "source")},
    }
    target = RESULTS / "photos" / f"{recipe}-{epsilon}.json"
    write_atomic(target, (json.dumps(content, indent=1) + "\n").encode())
    for row in rows:
        print(f"{recipe} {epsilon}: {row.role} {row.model} {row.right_before} -> {row.right_after} of {row.photos}")


def pair_of(out: Path, record: Record) -> Pair:
    """Original and protected pixels, both decoded from their files; twice the original where nothing was written."""
    original = decode((PHOTOS / record["source"]).read_bytes()).pixels
    protected = decode((out / record["output"]).read_bytes()).pixels if record["output"] else original
    return Pair(record["source"], original, protected, record["label"])


def distortion(manifest: list[dict[str, Any]]) -> dict[str, float]:
    """Means over the protected photos, and the largest change."""
    done = [record for record in manifest if record["status"] == "protected"]
    return {
        "linf_max": max(record["linf"] for record in done),
        "psnr_mean": round(statistics.fmean(record["psnr"] for record in done), 3),
        "ssim_mean": round(statistics.fmean(record["ssim"] for record in done), 4),
    }


if __name__ == "__main__":
    main()
