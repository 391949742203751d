"""Hostile inputs of every reader, made from sound ones. `python tests/helpers/hostile_inputs.py` tries 2,500 of them.

Each input is a sound file of its kind with one to three faults, drawn from a seed, so that any can be made again. A
reader has to read it or to refuse it in one sentence; anything else (another exception, a minute's silence) is a crash.
"""

import argparse
import io
import json
import random
import signal
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onlymymodel.data.image_io import PhotoError, decode, encode, probe
from onlymymodel.data.labels import read_labels
from onlymymodel.errors import UserError
from onlymymodel.evaluate.results_file import read_results
from onlymymodel.protect import run_record
from onlymymodel.protect.photo_record import PhotoManifest
from onlymymodel.protect.region import Region, find_area
from onlymymodel.protect.seal import read_seal
from onlymymodel.protect.signing import read_public_key, read_signer
from onlymymodel.settings_file import read_run_file
from onlymymodel.surrogates.answer_lines import read_answer_lines
from onlymymodel.surrogates.load import load_model

MAX_PIXELS = 1_000_000
SIDE = 24
SECONDS = 60  # after which a reader hangs
TYPICAL = 2500
SUFFIXES = ("png", "jpg", "webp", "tif", "bmp", "gif", "avif", "txt", "")
FIELDS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
TOKENS: tuple[bytes, ...] = (
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"null", b"NaN", b"1e999", b"-1",
    b"9" * 400, b"[" * 3000, b'{"a":' * 3000, b'"', b"'''", b"\r\n\r\n", b",,,,", b";", b"../../etc/passwd", b"%s%n",
    b"\x1b[2J", b"x" * 5000, b"true", b"{}", b"[]", b"=", b"#", b"?size=-1", b"://",
)  # fmt: skip


@dataclass(frozen=True)
class Hostile:
    """One input.

    Attributes:
        kind: key of `READERS`.
        name: of the file.
        data: its bytes.
    """

    kind: str
    name: str
    data: bytes


class Hang(BaseException):
    """A reader did not end."""


def make(kind: str, number: int, seed: int = 0) -> Hostile:
    """Make one input of a kind; the same one for the same number and seed."""
    draw = random.Random(f"{seed} {kind} {number}")
    name, data = draw.choice(sound(kind))
    for _ in range(draw.randint(1, 3)):
        data = draw.choice(FAULTS)(draw, data)
    if kind == "photo" and draw.random() < 0.1:
        name = f"photo.{draw.choice(SUFFIXES)}"
    return Hostile(kind, name, data)


def make_all(count: int, seed: int = 0) -> Iterator[Hostile]:
    """Make `count` inputs; half of them are photos, the others are shared among the other kinds."""
    others = [kind for kind in READERS if kind != "photo"]
    for number in range(count):
        kind = "photo" if number % 2 == 0 else others[number // 2 % len(others)]
        yield make(kind, number, seed)


# faults


def _cut(draw: random.Random, data: bytes) -> bytes:
    return data[: draw.randrange(len(data) + 1)]


def _flip(draw: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 3, 20))):
        if changed:
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _field(draw: random.Random, data: bytes) -> bytes:
    """Overwrite a number, most often near the start, where sizes and counts are."""
    order, width = draw.choice("<>"), draw.choice((1, 2, 4))
    value = draw.choice(FIELDS) & ((1 << 8 * width) - 1)
    at = int(len(data) * draw.random() ** 3)
    packed = struct.pack(order + {1: "B", 2: "H", 4: "I"}[width], value)
    return data[:at] + packed + data[at + width :]


def _drop(draw: random.Random, data: bytes) -> bytes:
    start = draw.randrange(len(data) + 1)
    return data[:start] + data[start + draw.choice((1, 4, 12, 100)) :]


def _repeat(draw: random.Random, data: bytes) -> bytes:
    start = draw.randrange(len(data) + 1)
    part = data[start : start + draw.choice((1, 12, 100, 1000))]
    return data[:start] + part * draw.choice((2, 3, 50)) + data[start:]


def _erase(draw: random.Random, data: bytes) -> bytes:
    start, length = draw.randrange(len(data) + 1), draw.choice((4, 16, 200))
    return data[:start] + draw.choice((b"\0", b"\xff")) * len(data[start : start + length]) + data[start + length :]


def _insert(draw: random.Random, data: bytes) -> bytes:
    start = draw.randrange(len(data) + 1)
    return data[:start] + draw.choice(TOKENS) + data[start:]


def _replace_value(draw: random.Random, data: bytes) -> bytes:
    """Replace what stands between two delimiters, as a value of JSON, TOML or CSV does."""
    delimiters = [index for index, byte in enumerate(data) if byte in b'":,=[]{}\n']
    if len(delimiters) < 2:
        return _insert(draw, data)
    start = draw.randrange(len(delimiters) - 1)
    return data[: delimiters[start] + 1] + draw.choice(TOKENS) + data[delimiters[start + 1] :]


def _append(draw: random.Random, data: bytes) -> bytes:
    return data + draw.choice((draw.randbytes(1000), data, b"\0" * 5000, b"\xff\xd8\xff"))


def _encode(draw: random.Random, data: bytes) -> bytes:
    """Write a text in another encoding."""
    return data.decode("latin-1").encode(draw.choice(("utf-16", "utf-32", "utf-8", "utf-7")))


FAULTS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _cut, _flip, _field, _field, _drop, _repeat, _erase, _insert, _replace_value, _append, _encode,
)  # fmt: skip


# sound files


@cache
def sound(kind: str) -> tuple[tuple[str, bytes], ...]:
    """Return names and bytes of sound files of a kind."""
    if kind == "photo":
        return (*_pictures(), *_animations())
    if kind == "mask":  # upright ones, of the photo's size
        return tuple(_pictures(upright=True))
    with tempfile.TemporaryDirectory() as folder:
        return tuple((name, data) for name, data in _texts_and_models(kind, Path(folder)))


def _noise() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (SIDE, SIDE + 3, 4), dtype=np.uint8)


def _pictures(*, upright: bool = False) -> Iterator[tuple[str, bytes]]:
    """Encode noise in every format and mode, without EXIF and with it."""
    noise = _noise()
    color = Image.fromarray(noise)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 1 if upright else 6, "camera"
    exif.get_ifd(0x8769)[0x9003] = "2024:01:01 00:00:00"
    for suffix, mode in (
        ("png", "RGBA"), ("png", "RGB"), ("png", "L"), ("png", "P"), ("png", "I;16"), ("png", "1"), ("jpg", "RGB"),
        ("jpg", "L"), ("jpg", "CMYK"), ("webp", "RGBA"), ("tif", "RGB"), ("tif", "L"), ("bmp", "RGB"), ("gif", "P"),
        ("avif", "RGB"),
    ):  # fmt: skip
        image = Image.fromarray(noise[..., 0].astype(np.uint16) * 257) if mode == "I;16" else color.convert(mode)
        for options in ({}, {"exif": exif.tobytes()}) if suffix in ("jpg", "png", "webp", "tif") else ({},):
            out = io.BytesIO()
            kind = {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper())
            image.save(out, kind, **options)
            yield f"photo.{suffix}", out.getvalue()


def _animations() -> Iterator[tuple[str, bytes]]:
    first = Image.fromarray(_noise()).convert("P")
    out = io.BytesIO()
    first.save(out, "GIF", save_all=True, append_images=[Image.new("P", first.size, 7)])
    yield "animation.gif", out.getvalue()


def _texts_and_models(kind: str, folder: Path) -> Iterator[tuple[str, bytes]]:
    if kind == "labels":
        yield "labels.csv", b"file,label\na.png,0\nb.png,4\n"
        yield "labels.csv", b'\xef\xbb\xbffile;label;note\r\n"a.png";3;"x;y"\r\n'
    elif kind == "run file":
        yield "run.toml", RUN_FILE.encode()
    elif kind == "answers":
        yield "answers.jsonl", ANSWERS.encode()
    elif kind in ("manifest", "run record", "seal", "results"):
        yield from _records(kind, folder)
    elif kind == "onnx":
        from tiny_onnx import write_onnx

        yield "model.onnx", write_onnx(folder / "model.onnx").read_bytes()
    elif kind == "checkpoint":
        from tiny_timm import save, tiny

        for name in ("weights.safetensors", "weights.pth"):
            yield name, save(tiny().state_dict(), folder / name).read_bytes()
    else:
        from keys import write_keys

        private, public = write_keys(folder)
        yield "key.pem", (private if kind == "private key" else public).read_bytes()


def _records(kind: str, folder: Path) -> Iterator[tuple[str, bytes]]:
    """Protect a few photos, and return what the run, its seal or its evaluation leaves."""
    from evaluating import evaluate, protect, write_photos

    with redirect_stdout(io.StringIO()):
        source = write_photos(folder / "photos")
        out = protect(source, folder / "out")
        if kind == "results":
            evaluate(source, [out], folder / "judged")
    if kind == "results":
        yield "results.json", (folder / "judged" / "results.json").read_bytes()
    else:
        name = {"manifest": "manifest.jsonl", "run record": "run.json", "seal": "seal.json"}[kind]
        yield name, (out / name).read_bytes()


RUN_FILE = """\
authorized = "mine"
surrogates = ["theirs"]
format = "png"
epsilon = 8
exclude = ["*.tmp"]

[models]
mine = "zoo:identity-plain"
theirs = { uri = "zoo:identity-deep", size = 64 }

[budget]
ssim = 0.95

[recipe]
name = "default"
steps = 4
views = ["block_shuffle", "affine"]
"""
ANSWERS = """\
{"asked": "k", "model": "m", "view": "v"}
{"image": "k", "answer": 1, "model": "m", "view": "v"}
{"image": "l", "answer": 0, "model": "m", "view": "v", "scores": "AAAAAAAAAAA="}
"""


# readers


def _read_photo(path: Path) -> None:
    """Check also that the header agrees with the pixels, and that what is written is read again as the same."""
    try:
        header = probe(path, MAX_PIXELS)
    except PhotoError:
        header = None
    photo = decode(path.read_bytes(), max_pixels=MAX_PIXELS)
    if header is None:
        raise AssertionError("the header is refused and the pixels are not")
    if (header.height, header.width) != photo.pixels.shape[:2]:
        raise AssertionError(f"{header} is not of {photo.pixels.shape}")
    again = decode(encode(photo.pixels, like=photo, format="png"))
    if not np.array_equal(again.pixels, photo.pixels):
        raise AssertionError("other pixels are read from the file that was written")


def _read_mask(path: Path) -> None:
    find_area(np.zeros((SIDE, SIDE + 3, 3), np.uint8), path.read_bytes(), Region("mask"))


def _read_onnx(path: Path) -> None:
    load_model(f"onnx:{path}")


def _read_checkpoint(path: Path) -> None:
    load_model(f"checkpoint:{path}?arch=timm:test_vit&classes=7")


READERS: dict[str, Callable[[Path], object]] = {
    "photo": _read_photo,
    "mask": _read_mask,
    "labels": lambda path: read_labels(path, photos=("a.png", "b.png"), classes=None, n_classes=5),
    "run file": lambda path: read_run_file(path).complete(),
    "answers": lambda path: list(read_answer_lines(path)),
    "manifest": lambda path: PhotoManifest(path.parent).load(),
    "run record": lambda path: run_record.read(path.parent),
    "seal": lambda path: read_seal(path.parent),
    "results": read_results,
    "onnx": _read_onnx,
    "checkpoint": _read_checkpoint,
    "private key": read_signer,
    "public key": read_public_key,
}


def try_input(hostile: Hostile, folder: Path) -> str:
    """Let the reader read an input; return `read`, `refused`, or what went wrong."""
    path = folder / hostile.name
    path.write_bytes(hostile.data)
    try:
        with _time_limit():
            READERS[hostile.kind](path)
    except (UserError, PhotoError) as error:
        return "refused" if str(error).strip() and "\n" not in str(error) else f"no sentence: {error!r}"
    except Hang:
        return f"hangs for {SECONDS} seconds"
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the result
        return f"{type(error).__name__}: {error}"[:300]
    finally:
        path.unlink()
    return "read"


@contextmanager
def _time_limit() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise Hang

    earlier = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)


def main() -> int:
    """Try all inputs, and print how many of each kind were read, refused, or crashed a reader."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=TYPICAL)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    counts: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as name:
        for number, hostile in enumerate(make_all(arguments.count, arguments.seed)):
            outcome = try_input(hostile, Path(name))
            counts[hostile.kind, outcome if outcome in ("read", "refused") else "crashed"] += 1
            if outcome not in ("read", "refused"):
                print(json.dumps({"kind": hostile.kind, "number": number, "outcome": outcome}), flush=True)
    print(f"{'kind':12} {'tried':>6} {'read':>6} {'refused':>8} {'crashed':>8}")
    for kind in [*READERS, "all"]:
        row = [
            sum(count for (other, end), count in counts.items() if kind in ("all", other) and outcome in ("", end))
            for outcome in ("", "read", "refused", "crashed")
        ]
        print(f"{kind:12} {row[0]:6} {row[1]:6} {row[2]:8} {row[3]:8}")
    return int(any(outcome == "crashed" for _, outcome in counts))


if __name__ == "__main__":
    sys.exit(main())
