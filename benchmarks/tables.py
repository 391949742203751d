"""Write the README's figures from the JSON in results/, between their markers.

uv run python benchmarks/tables.py           # write
uv run python benchmarks/tables.py --check   # exit 1 where the README says something else
"""

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from assets import RESULTS, ROOT

README = ROOT / "README.md"
ORDER = ("default", "ens", "fmd")


def main() -> int:
    """Write or check; returns an exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    text = README.read_text(encoding="utf-8")
    made = rewrite(text)
    if arguments.check:
        print("README.md is as results/ says" if made == text else "README.md differs: run benchmarks/tables.py")
        return int(made != text)
    README.write_text(made, encoding="utf-8")
    return 0


def rewrite(text: str) -> str:
    """The text with every marked part made anew."""
    for name, make in TABLES.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        text = pattern.sub(lambda found, make=make: found[1] + make() + found[2], text)  # type: ignore[misc]
    return text


def photos() -> str:
    """Recipes and budgets on the real photos: what each model still reads."""
    cells = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((RESULTS / "photos").glob("*.json"))]
    cells.sort(key=lambda cell: (-cell["epsilon"], ORDER.index(cell["recipe"])))
    held_out = [short(row) for row in cells[0]["rows"] if row["role"] == "held-out"]
    lines = [
        f"| epsilon | recipe | protected | authorized | surrogates (mean) | {' | '.join(held_out)} | PSNR | SSIM |",
        "|---" * (7 + len(held_out) - 1) + "|",
        f"| 0 | clean photos | - | {before(cells[0], 'authorized')} | {before(cells[0], 'surrogate')} | "
        + " | ".join(share(row["right_before"], row["photos"]) for row in rows_of(cells[0], "held-out"))
        + " | - | - |",
    ]
    for cell in cells:
        shares = " | ".join(share(row["right_after"], row["photos"]) for row in rows_of(cell, "held-out"))
        distortion = cell["distortion"]
        lines.append(
            f"| {cell['epsilon']} | `{cell['recipe']}` | {cell['statuses'].get('protected', 0)} of {cell['photos']} | "
            f"{after(cell, 'authorized')} | {after(cell, 'surrogate')} | {shares} | "
            f"{distortion['psnr_mean']:.1f} | {distortion['ssim_mean']:.3f} |"
        )
    return "\n".join(lines) + "\n"


def rows_of(cell: dict[str, Any], role: str) -> list[dict[str, Any]]:
    """The rows of one role."""
    return [row for row in cell["rows"] if row["role"] == role]


def before(cell: dict[str, Any], role: str) -> str:
    """Mean share read right on the clean photos."""
    rows = rows_of(cell, role)
    return share(sum(row["right_before"] for row in rows), sum(row["photos"] for row in rows))


def after(cell: dict[str, Any], role: str) -> str:
    """Mean share read right on the protected photos."""
    rows = rows_of(cell, role)
    return share(sum(row["right_after"] for row in rows), sum(row["photos"] for row in rows))


def short(row: dict[str, Any]) -> str:
    """A model's file name without its ending."""
    return Path(str(row["model"]).partition(":")[2].partition("?")[0]).stem


def share(hits: int, total: int) -> str:
    """A share in percent."""
    return f"{100 * hits / total:.1f} %" if total else "-"


def overhead() -> str:
    """The overhead of a step, as a sentence."""
    content = json.loads((RESULTS / "overhead.json").read_text(encoding="utf-8"))
    ratio = content["ratio_of_medians"]
    return f"A whole step takes {ratio:.2f} times the bare forward and backward passes of its models.\n"


TABLES: dict[str, Callable[[], str]] = {"photos": photos, "overhead": overhead}


if __name__ == "__main__":
    raise SystemExit(main())
