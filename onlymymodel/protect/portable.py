"""`--portable`: limit the instructions of the numerical libraries, so that more kinds of machines compute alike.

Importing this module does not import torch: the libraries read these variables once, when they are loaded.
"""

import os
import sys

from onlymymodel.errors import UserError

# oneDNN (its present and its former variable) and ATen choose code by the instructions that a CPU has; MKL does, too,
# and COMPATIBLE is its only branch that is the same on Intel's CPUs and on others (MKL developer guide, "Specifying the
# Code Branches"). Sums also depend on how many threads share them.
LIMITS = {
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "DNNL_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_CBWR": "COMPATIBLE",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


def is_portable() -> bool:
    """Return whether this process computes with the limits of `make_portable`."""
    return all(os.environ.get(name) == value for name, value in LIMITS.items())


def make_portable() -> None:
    """Limit the numerical libraries of this process, and of those that it starts, to AVX2, and to one thread.

    Raises:
        UserError: torch is imported already, and has read other values.
    """
    if is_portable():
        return
    if "torch" in sys.modules:
        values = " ".join(f"{name}={value}" for name, value in LIMITS.items())
        raise UserError(f"make_portable has to be called before torch is imported; or start Python with {values}")
    os.environ.update(LIMITS)
