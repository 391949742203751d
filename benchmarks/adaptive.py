"""Parties that adapt to the protection: what judges read after they clean the files, or learn from them.

    python benchmarks/adaptive.py --limit 24            # resumable; one JSON for each recipe in results/adaptive/

Authorized mobilenet_v2, epsilon 8, the first images and the models of `deployments.py`. Each party cleans the written
files (a learned denoiser, JPEG several times, the mean of resized copies), or fine-tunes a judge on half of the
protected photos and their originals with the right labels and reads the other half. `default` is compared with the
same recipe whose attack goes through the cleaning parties (`--against`). Nobody here goes beyond these parties: a
stronger purifier, or one who fine-tunes on many photos, reads more.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from adaptive_tables import FOLDER, PARTIES
from assets import WORK, uri
from nips2017 import FIT, TEAMS, labels_of, photos
from runs import cost_of, evaluate, load_judges, protect, public_command, write_json

from onlymymodel import load_black_box
from onlymymodel.evaluate.adversaries import adversary_sentences
from onlymymodel.evaluate.channels import get_channels
from onlymymodel.evaluate.results_file import results_to_json
from onlymymodel.runtime import configure, pick_device

EPSILON = 8
TEAM = TEAMS["mobilenet_v2"]
# flags of each cell
RECIPES = {"default": (), "against": ("--against", *PARTIES)}


def main() -> None:
    """Run the requested cells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--limit", type=int, default=24, metavar="N", help="the first N images (24)")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    configure()
    source = photos(arguments.limit, WORK / "adaptive" / "originals")
    for recipe in arguments.recipes:
        run_cell(recipe, source, arguments.device)


def run_cell(recipe: str, source: Path, device_name: str) -> None:
    """Protect the images, evaluate the written files after each party, and write one JSON."""
    cell = f"{TEAM.authorized}-{recipe}-{EPSILON}"
    out, device = WORK / "adaptive" / cell, pick_device(device_name)
    command = [
        "protect", str(source), "--authorized", uri(TEAM.authorized, FIT),
        "--surrogate", *(uri(name, FIT) for name in TEAM.surrogates),
        "--labels", str(source / "labels.csv"), "--epsilon", str(EPSILON), "--shape", "even", *RECIPES[recipe],
    ]  # fmt: skip
    protect(command, device_name, out)
    results = evaluate(
        source,
        out,
        load_judges(replace(TEAM, surrogates=()), lambda name: load_black_box(uri(name, FIT), device=device)),
        labels=labels_of(source),
        command=public_command(command, source),
        device=device,
        channels=get_channels(["png", *PARTIES]),
        adapt=True,
    )
    write_json(FOLDER / f"{cell}.json", {"cell": cell, "cost": cost_of(out), **results_to_json(results)})
    for _, sentence in adversary_sentences(results):
        print(f"{cell}: {sentence}", flush=True)


if __name__ == "__main__":
    main()
