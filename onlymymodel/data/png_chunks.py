"""Chunks of a PNG: those that its pixels need, those that describe color and EXIF, and the names of the others.

Decoders refuse a sound picture because a text or a color profile in it is long or has a wrong checksum. Here they are
given a file with the chunks that the pixels need, and everything else is read by us, with limits of our own.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass, field
from typing import IO

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_PROFILE = 8_000_000  # bytes of an unpacked color profile; libpng's own limit

_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"IDAT", b"fdAT", b"IEND")
_DESCRIPTIONS = (b"cICP", b"iCCP", b"sRGB", b"cHRM", b"gAMA", b"eXIf")
_TEXTS = {b"tEXt": "PNG text", b"zTXt": "PNG text", b"iTXt": "PNG text", b"caBX": "content credentials (C2PA)"}
# resolution, time, background and such: facts about the file that was read
_SILENT = (b"pHYs", b"tIME", b"bKGD", b"hIST", b"sBIT", b"sPLT", b"oFFs", b"pCAL", b"sCAL", b"sTER", b"iDOT")
_XMP = b"XML:com.adobe.xmp\0"


@dataclass
class PngChunks:
    """The chunks of a PNG.

    Attributes:
        pixels: a PNG with the chunks that its pixels need, for a decoder.
        descriptions: the first valid chunk of each name of color and EXIF.
        dropped: the keys are the names of everything else.
    """

    pixels: bytes = b""
    descriptions: dict[bytes, bytes] = field(default_factory=dict)
    dropped: dict[str, None] = field(default_factory=dict)

    @property
    def exif(self) -> bytes | None:
        """The EXIF block."""
        return self.descriptions.get(b"eXIf")

    @property
    def icc(self) -> bytes | None:
        """The unpacked color profile; None if there is none, or if it is broken or larger than MAX_PROFILE."""
        name, _, packed = self.descriptions.get(b"iCCP", b"").partition(b"\0")
        if not name or packed[:1] != b"\0":  # the only method of compression
            return None
        unpacker = zlib.decompressobj()
        try:
            profile = unpacker.decompress(packed[1:], MAX_PROFILE)
        except zlib.error:
            return None
        return profile if unpacker.eof and profile else None


def read_chunks(file: IO[bytes], *, header_only: bool = False) -> PngChunks:
    """Read all chunks of a PNG.

    Args:
        file: the PNG, seekable.
        header_only: leave the pixels out: the resulting file can be opened, but not decoded.

    Raises:
        EOFError: the last chunk is missing or truncated.
    """
    end = file.seek(0, io.SEEK_END)
    at, chunks, kept = len(PNG_SIGNATURE), PngChunks(), [PNG_SIGNATURE]
    while at + 12 <= end:  # length, name, data, checksum; each step moves forward by 12 or more
        file.seek(at)
        length, name = struct.unpack(">I4s", file.read(8))
        at += 12 + length
        if at > end:
            break
        if name in _PIXELS:
            if header_only and name in (b"IDAT", b"fdAT"):
                kept.append(_chunk(name, b""))
            else:
                kept.append(struct.pack(">I4s", length, name) + file.read(length + 4))
            if name == b"IEND":
                if at < end:
                    chunks.dropped["data after the end of the picture"] = None
                chunks.pixels = b"".join(kept)
                return chunks
        elif name in _DESCRIPTIONS and name not in chunks.descriptions and length <= MAX_PROFILE:
            data = file.read(length)
            if file.read(4) == struct.pack(">I", zlib.crc32(name + data)):
                chunks.descriptions[name] = data
            else:
                chunks.dropped[f"PNG chunk {name.decode()} (wrong checksum)"] = None
        elif name not in _SILENT:
            is_xmp = name == b"iTXt" and file.read(min(length, len(_XMP))) == _XMP
            part = "XMP" if is_xmp else _TEXTS.get(name) or f"PNG chunk {_printable(name)}"
            chunks.dropped[part] = None
    raise EOFError("the file ends before its last chunk")


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _printable(name: bytes) -> str:
    return name.decode("ascii") if name.isalpha() else name.hex()
