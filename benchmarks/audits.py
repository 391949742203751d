"""All four audits, on pictures that need no download and on real faces: what each release reveals.

    python benchmarks/audits.py                     # results/audits/ and pages with the pictures
    python benchmarks/audits.py --only weights      # one part
    python benchmarks/audits.py --workers 2         # two units at a time, each with one thread

A part consists of units, which are measured one by one; an interrupted run goes on with the next one, and a unit whose
code and settings have not changed is not measured again. The pictures of real faces stay private: their pages go to the
cache, only their measurements to results/audits/.
"""

import argparse
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from types import ModuleType
from typing import Any

import audit_faces
import audit_gradients
import audit_layers
import audit_representations
import audit_weights
import torch
from assets import ASSETS, RESULTS
from audit_units import PAGES, fingerprint, measure, relative

from onlymymodel import configure
from onlymymodel.data.atomic import write_atomic
from onlymymodel.evaluate.html import json_text
from onlymymodel.runtime import environment

PARTS: dict[str, ModuleType] = {
    "gradients": audit_gradients,
    "intermediate": audit_layers,
    "weights": audit_weights,
    "representation": audit_representations,
    "faces": audit_faces,
}


def main() -> None:
    """Run the requested parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="units that are measured at a time")
    arguments = parser.parse_args()
    configure()
    for name in arguments.only:
        if name == "faces" and not ASSETS.exists():
            print(f"faces: left out, since {ASSETS} is missing")
            continue
        run(name, arguments.workers)


def run(name: str, workers: int) -> None:
    """Measure the units of a part, and write its results."""
    module = PARTS[name]
    numbers = range(len(module.units()))
    if workers > 1:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, initializer=_one_thread) as pool:
            results = list(pool.map(partial(measure_unit, name), numbers))
    else:
        results = [measure_unit(name, number) for number in numbers]
    content = {
        "schema": 3,
        "made_by": f"benchmarks/audits.py --only {name}",
        "seconds": round(sum(result["seconds"] for result in results), 1),
        "seeds": sorted({result["seed"] for result in results}),
        "environment": environment(torch.device("cpu")),
        "intervals": "95 %, Student's t; over what is said in each table",
        "tables": module.tables(results),
        "units": results,
    }
    write_atomic(RESULTS / "audits" / f"{name}.json", json_text(content).encode())
    print(f"{name}: {len(results)} units in {content['seconds']:.0f} s, pages in {relative(PAGES)}", flush=True)


def measure_unit(name: str, number: int) -> dict[str, Any]:
    """Return the result of a unit of a part."""
    module, started = PARTS[name], time.perf_counter()
    unit = module.units()[number]
    result = measure(name, unit, fingerprint(module, module.PACKAGES))
    seconds = time.perf_counter() - started
    print(f"{name}: {unit.name}, seed {unit.seed}: {seconds:.0f} s", file=sys.stderr, flush=True)
    return result


def _one_thread() -> None:
    """Prepare a process that measures beside others."""
    configure()
    torch.set_num_threads(1)


if __name__ == "__main__":
    main()
