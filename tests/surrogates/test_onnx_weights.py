"""Hostile ONNX files: no file outside the model's folder is opened, and no memory is taken for what a file claims."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_onnx import write_onnx

from onlymymodel.data.manifest import sha256_file
from onlymymodel.errors import UserError
from onlymymodel.surrogates.load import load_black_box, load_model
from onlymymodel.surrogates.onnx_weights import MAX_GRAPH, MAX_WEIGHTS

LOADERS = pytest.mark.parametrize("load", [load_model, load_black_box])


def change(path: Path, work: Callable[[Any], None]) -> str:
    """Change the graph of a file as its author might; returns the URI."""
    graph: Any = onnx.load(path, load_external_data=False)
    work(graph)
    path.write_bytes(graph.SerializeToString())
    return f"onnx:{path}"


def place(**entries: str | int) -> Callable[[Any], None]:
    """Set where the first tensor is."""

    def work(graph: Any) -> None:
        tensor = graph.graph.initializer[0]
        del tensor.external_data[:]
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=str(value))

    return work


@LOADERS
@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("/dev/zero", "only files in the model's own folder"),
        ("/etc/passwd", "only files in the model's own folder"),
        ("../secret.bin", "only files in the model's own folder"),
        ("sub/../../secret.bin", "only files in the model's own folder"),
        ("", "only files in the model's own folder"),
        ("link.bin", "not links"),
        ("linked/secret.bin", "not links"),
        ("sub", "only regular files"),
        ("pipe", "only regular files"),
        ("absent.bin", "is missing"),
        ("nul\0", "only files in the model's own folder"),
    ],
)
def test_weights_are_read_from_the_models_own_folder_only(
    load: Callable[..., Any], location: str, message: str, tmp_path: Path
) -> None:
    folder, secret = tmp_path / "model", tmp_path / "secret.bin"
    (folder / "sub").mkdir(parents=True)
    secret.write_bytes(b"secret" * 1000)
    (folder / "link.bin").symlink_to(secret)
    (folder / "linked").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    uri = change(write_onnx(folder / "net.onnx", beside="net.data"), place(location=location))
    with pytest.raises(UserError) as caught:
        load(uri)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@LOADERS
@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"length": 10**12}, "is shorter than a tensor"),
        ({"offset": 10**12, "length": 4}, "is shorter than a tensor"),
        ({"offset": -4, "length": 4}, "is shorter than a tensor"),
        ({"length": -1}, "is shorter than a tensor"),
        ({"offset": "far"}, "is not a number"),
    ],
)
def test_a_tensor_lies_within_its_file(
    load: Callable[..., Any], entries: dict[str, Any], message: str, tmp_path: Path
) -> None:
    uri = change(write_onnx(tmp_path / "net.onnx", beside="net.data"), place(location="net.data", **entries))
    with pytest.raises(UserError, match=message):
        load(uri)


@LOADERS
def test_a_location_of_a_tensor_inside_the_file_is_not_followed(load: Callable[..., Any], tmp_path: Path) -> None:
    """`data_location` decides where a tensor is, as for ONNX's own reader."""
    path = write_onnx(tmp_path / "net.onnx")
    wanted = load(f"onnx:{path}").card
    uri = change(path, place(location="/dev/zero"))
    card = load(uri).card
    assert card.weights == wanted.weights
    assert card.sha256 == sha256_file(path)


def constant(graph: Any) -> None:
    """Add a node with a large tensor that is nowhere stored."""
    tensor = TensorProto(name="huge", data_type=TensorProto.FLOAT, dims=[2**20, 2**20])
    graph.graph.node.append(helper.make_node("Constant", [], ["huge"], value=tensor))


def sparse(graph: Any) -> None:
    """Add a sparse tensor of one value, which would fill the memory as a dense one."""
    values, indices = (numpy_helper.from_array(np.zeros(1, kind), "v") for kind in (np.float32, np.int64))
    graph.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [2**20, 2**20]))


def repeated(graph: Any) -> None:
    """Read a file of a gibibyte, which takes no place on the disk, for many tensors."""
    for index in range(9):
        tensor = TensorProto(name=f"copy{index}", data_type=TensorProto.FLOAT, dims=[2**28])
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="sparse.data")
        graph.graph.initializer.append(tensor)


def within_a_branch(graph: Any) -> None:
    """Hide the tensor in a graph inside a node of a function."""
    inner = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "inner", [], [])
    inner.initializer.append(TensorProto(name="x", data_type=TensorProto.FLOAT, dims=[2**40]))
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    graph.functions.append(helper.make_function("own", "F", ["c"], ["y"], [node], [helper.make_opsetid("", 13)]))


@LOADERS
@pytest.mark.parametrize("work", [constant, sparse, repeated, within_a_branch])
def test_too_large_weights_are_refused_before_memory_is_taken(
    load: Callable[..., Any], work: Callable[[Any], None], tmp_path: Path
) -> None:
    (tmp_path / "sparse.data").touch()
    os.truncate(tmp_path / "sparse.data", 2**30)
    uri = change(write_onnx(tmp_path / "net.onnx"), work)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=f"need more than {MAX_WEIGHTS >> 30} GiB of memory"):
        load(uri)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024  # KiB


@LOADERS
def test_too_large_a_file_is_refused_unread(load: Callable[..., Any], tmp_path: Path) -> None:
    with (tmp_path / "net.onnx").open("wb") as file:
        file.truncate(MAX_GRAPH + 1)
    with pytest.raises(UserError, match="is larger than 2 GiB"):
        load(f"onnx:{tmp_path / 'net.onnx'}")


FUZZ = """
import sys, warnings
from pathlib import Path
import numpy as np
from onlymymodel.errors import UserError
from onlymymodel.surrogates.load import load_black_box, load_model
warnings.simplefilter("ignore")
folder = Path(sys.argv[1])
whole = (folder / "whole.onnx").read_bytes()
rng = np.random.default_rng(0)
refused = 0
for index in range(80):
    data = bytearray(whole[: len(whole) if index % 3 else int(rng.integers(len(whole)))])
    for place in rng.integers(len(data), size=1 + index % 4) if data else ():
        data[place] = rng.integers(256)
    (folder / "net.onnx").write_bytes(data)
    for load in (load_model, load_black_box):
        try:
            load(f"onnx:{folder / 'net.onnx'}")
        except UserError as error:
            assert "\\n" not in str(error), error
            refused += 1
print("refused", refused)
"""


@pytest.mark.slow
@pytest.mark.parametrize("beside", [None, "whole.data"])
def test_damaged_files_are_refused_in_one_sentence(beside: str | None, tmp_path: Path) -> None:
    write_onnx(tmp_path / "whole.onnx", beside=beside)
    done = subprocess.run([sys.executable, "-c", FUZZ, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) > 25
