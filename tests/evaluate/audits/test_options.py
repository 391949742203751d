"""Options of the audits: importable without torch, and the same choices as the code that they select from."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import onlymymodel
from onlymymodel.evaluate.audits.gradients.defenses import DEFENSES, parse_defense
from onlymymodel.evaluate.audits.gradients.matching import ATTACKS, Attack
from onlymymodel.evaluate.audits.networks import small_network
from onlymymodel.evaluate.audits.options import (
    ATTACK_NAMES,
    DEFENSE_ARGUMENTS,
    DEFENSE_GRAMMAR,
    NETWORK_KINDS,
    NO_DEFENSE,
    SIZES,
    AuditName,
    GradientOptions,
)

PACKAGE = Path(onlymymodel.__file__).parent


def test_options_are_imported_without_torch() -> None:
    """The package's own __init__ is left out, since what it imports is another question."""
    program = (
        "import sys, types\n"
        "package = types.ModuleType('onlymymodel')\n"
        f"package.__path__ = [{str(PACKAGE)!r}]\n"
        "sys.modules['onlymymodel'] = package\n"
        "import onlymymodel.evaluate.audits.options\n"
        "print(sorted({'torch', 'numpy', 'sklearn'} & set(sys.modules)))\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_choices_are_those_of_the_code() -> None:
    assert tuple(ATTACKS) == ATTACK_NAMES
    assert tuple(DEFENSES) == tuple(DEFENSE_ARGUMENTS)
    assert all(isinstance(ATTACKS[name], Attack) for name in GradientOptions().attacks)
    assert [parse_defense(defense).name for defense in GradientOptions().defenses] == [*GradientOptions().defenses]
    assert GradientOptions().defenses[0] == NO_DEFENSE
    assert get_args(AuditName) == ("gradients", "intermediate", "weights", "representation")
    assert DEFENSE_GRAMMAR == "none, noise:SHARE, clip:NORM, topk:SHARE, dp:MULTIPLIER, and chains with +"
    for kind in NETWORK_KINDS:
        for size in SIZES:
            assert not small_network(kind, 1, size, 2).training
