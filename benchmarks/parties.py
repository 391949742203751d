"""Parties of several kinds: expressions, or that there is a face, are authorized; who it is is not.

    python benchmarks/parties.py                        # resumable; one JSON for each cell in results/parties/
    python benchmarks/parties.py --cells mixed --limit 8

Whole photos of LFW, the same in every cell: every tenth photo of the expressions is left out, as in faces.py.
Surrogates are one expression classifier, identity embedders that are moved away from each photo's own embedding, or
both; held-out are an expression classifier, two identity embedders that look for the original among all originals, and
MTCNN. In the cell `found` MTCNN is the authorized model, which has to find the same faces.
"""

import argparse
from pathlib import Path
from urllib.parse import urlencode

import torch
from assets import ASSETS, RESULTS, face_uri, models
from faces import GALLERY, HERE, FaceTeam, photos
from runs import cost_of, evaluate, load_judges, protect, public_command, write_json

from onlymymodel import load_black_box
from onlymymodel.evaluate.results_file import results_to_json
from onlymymodel.runtime import configure, pick_device
from onlymymodel.surrogates import face_detector

HELDOUT = ("shufflenet_affectnet", "mobilefacenet_casia", "mobilefacenet_ms1m", "mtcnn")
DETECTOR = "mtcnn-250"  # MTCNN with gradients, at the size of LFW's photos
CELLS = {
    "classifier": FaceTeam("fischer_raf", ("mini_xception",), HELDOUT, (16,)),
    "embedder": FaceTeam("fischer_raf", ("edgeface_xs",), HELDOUT, (16,)),
    "mixed": FaceTeam("fischer_raf", ("mini_xception", "edgeface_xs"), HELDOUT, (16,)),
    "found": FaceTeam(DETECTOR, ("edgeface_xs",), HELDOUT[:-1], (16,)),
    "embedders": FaceTeam("fischer_raf", ("mobileface_v3", "edgeface_xs"), HELDOUT, (16,)),
}


def main() -> None:
    """Run the requested cells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS), help="teams; all by default")
    parser.add_argument("--epsilons", nargs="+", type=int, help="by default those of each team")
    parser.add_argument("--limit", type=int, default=24, metavar="N", help="the first N photos")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    configure()
    face_detector.set_cache_size(1000)  # every model of every cell reads the same photos
    source = photos("emotion", arguments.limit)
    for name in arguments.cells:
        for epsilon in arguments.epsilons or CELLS[name].epsilons:
            run(name, CELLS[name], source, epsilon, arguments.device)


def run(name: str, team: FaceTeam, source: Path, epsilon: int, device: str) -> None:
    """Protect the photos for one team, judge the written files and write one JSON."""
    cell = f"{name}-{epsilon}"
    command = protect_command(team, source, epsilon)
    protect(command, device, HERE / "parties" / cell)
    chosen = pick_device(device)
    judges = load_judges(team, lambda model: load_black_box(party_uri(model), device=chosen))
    results = evaluate(
        source,
        HERE / "parties" / cell,
        judges,
        labels=None,
        command=public_command(command, source),
        device=torch.device(chosen),
    )
    write_json(
        RESULTS / "parties" / f"{cell}.json",
        {"cell": cell, "cost": cost_of(HERE / "parties" / cell), **results_to_json(results)},
    )
    print(f"{cell}: kept {results.authorized.score(results.runs[0].name).kept}", flush=True)


def protect_command(team: FaceTeam, source: Path, epsilon: int) -> list[str]:
    """Return the words after `omm`, without device and destination."""
    return [
        "protect", str(source), "--authorized", party_uri(team.authorized),
        "--surrogate", *map(party_uri, team.surrogates),
        "--epsilon", str(epsilon), "--shape", "even", "--recipe", "face",
    ]  # fmt: skip


def party_uri(name: str) -> str:
    """Return the URI of a model: an identity network without a gallery, at its threshold for FAR 0.001, or another."""
    if name in ("mtcnn", DETECTOR):
        return "mtcnn:faces" if name == "mtcnn" else "mtcnn:faces?size=250"
    record = models()[name]
    if record["task"] != "identity":
        return face_uri(name, GALLERY)
    options = {"task": "embedding", "fit": "align", "threshold": str(threshold(name))}
    options |= {key: record[key] for key in ("family", "parent")}
    return f"onnx:{ASSETS / record['file']}?{urlencode(options, safe=',:/() ')}"


def threshold(name: str) -> float:
    """Return the cosine that 1 in 1000 pairs of two people exceed, as models.json records it."""
    return float(models()[name]["measured"]["collected_from_original"]["thr_far1e3"])


if __name__ == "__main__":
    main()
