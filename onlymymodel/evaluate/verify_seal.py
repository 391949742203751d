"""Check the seal of a protected folder: report which facts it proves and which it only claims."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from onlymymodel.errors import number_of
from onlymymodel.evaluate.verify_report import Fault
from onlymymodel.protect import run_record, seal
from onlymymodel.protect.photo_record import MANIFEST
from onlymymodel.protect.seal import Seal
from onlymymodel.protect.signing import is_signature

# docs/guide/verify.md and docs/security.md say the same, word for word
PROVEN = (
    "proven by the signature: run.json (models, budget, recipe) and every line of the manifest (hashes of originals "
    "and files, statuses, answers) are as the holder of the key sealed them"
)
CLAIMED = (
    "only claimed: run.json and the manifest; whoever can write to the folder can rewrite them, and a seal without a "
    "signature too"
)


@dataclass(frozen=True)
class SealCheck:
    """Result of checking a seal.

    Attributes:
        faults: empty where the seal holds, and where there is none and no key was given.
        proven: whether the signature of the given key is on it.
        remark: what keeps it from being a proof, in one sentence; "" where it is one, or where a fault says it.
    """

    faults: tuple[Fault, ...]
    proven: bool
    remark: str


def check_seal(out: Path, public_key: bytes | None) -> SealCheck:
    """Check the seal of a folder against its `run.json` and its manifest, and its signature against a key.

    Args:
        out: the folder.
        public_key: 32 bytes (Ed25519) of the key that has to have signed it; None where none was given.

    Raises:
        UserError: a file cannot be read, or a signature cannot be checked since cryptography is not installed.
    """
    found = seal.read_seal(out)
    if found is None:
        missing = Fault(seal.NAME, "is missing, so nothing is proven")
        remark = (
            "the folder has no seal: it is of an earlier version, its run did not end, or somebody removed the seal"
        )
        return SealCheck((missing,), False, "") if public_key else SealCheck((), False, remark)
    faults = [*_differences(found.links, seal.chain(out)), *_faults_of_signature(found, public_key)]
    if faults or public_key:
        return SealCheck(tuple(faults), not faults, "")
    if found.signature:
        remark = f"the seal is signed by the key {found.public_key}; --public-key FILE says whether that is yours"
    else:
        remark = "the seal has no signature"
    return SealCheck((), False, remark)


def _differences(sealed: Sequence[str], present: Sequence[str]) -> Iterator[Fault]:
    """Yield the first difference of two chains; what comes after it cannot be told."""
    if sealed == present:
        return
    same = 0
    while same < min(len(sealed), len(present)) and sealed[same] == present[same]:
        same += 1
    if same == 0:
        yield Fault(run_record.NAME, "is not as it was sealed")
    elif same == len(sealed):
        added = number_of(len(present) - same, "line was", "lines were")
        reason = f"{added} added after the folder was sealed: the run did not end, or did not write what was added"
        yield Fault(MANIFEST, reason)
    elif same == len(present):
        yield Fault(MANIFEST, f"{len(sealed) - same} of {len(sealed) - 1} sealed lines are missing at its end")
    else:
        yield Fault(
            MANIFEST, f"line {same} is not as it was sealed: it was changed or removed, or one was put before it"
        )


def _faults_of_signature(found: Seal, public_key: bytes | None) -> Iterator[Fault]:
    if not found.signature:
        if public_key:
            yield Fault(seal.NAME, "has no signature, so nothing is proven")
        return
    try:
        signer, signature = bytes.fromhex(found.public_key), bytes.fromhex(found.signature)
    except ValueError:
        yield Fault(seal.NAME, "has a signature or a key that is none")
        return
    if public_key and signer != public_key:
        yield Fault(seal.NAME, f"is signed by another key ({found.public_key})")
    elif len(signer) != 32 or not is_signature(signature, found.signed_message, signer):
        yield Fault(seal.NAME, "its signature is not of this seal")
