"""Parquet files of pictures for tests, as the library `datasets` writes them."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from toys import read_portrait

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def portrait_bytes(index: int) -> bytes:
    """Return a portrait as the bytes of a PNG."""
    data = io.BytesIO()
    Image.fromarray(read_portrait(index)).save(data, "PNG")
    return data.getvalue()


def write_rows(
    path: Path,
    pictures: Sequence[tuple[bytes | None, str | None] | None],
    *,
    column: str = "image",
    row_group_size: int = 2,
    class_names: Sequence[str] | None = None,
    **columns: Any,
) -> None:
    """Write a Parquet file with a column of pictures, each bytes and a path, and others.

    Args:
        class_names: of the column `label`, in the metadata of `datasets`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [None if picture is None else {"bytes": picture[0], "path": picture[1]} for picture in pictures]
    table = pa.table({column: pa.array(rows, PICTURE), **columns})
    if class_names is not None:
        features = {column: {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": list(class_names)}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=row_group_size)
