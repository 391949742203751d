"""Actors of Ray on two nodes of one machine write what one process writes, whatever dies."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile import check_lines, files_of, lines_of, protect, save_photo
from paths import ROOT
from patience import RUN_PATIENCE, wait_until
from PIL import Image
from worker_contexts import POISON, make_poisoned

from onlymymodel.data.manifest import Manifest
from onlymymodel.protect.photo_record import MANIFEST, PhotoManifest
from onlymymodel.protect.ray_engine import RaySettings

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # warnings of Ray are not ours
SWITCH = "OMM_TEST_RAY"
killing = pytest.mark.skipif(
    SWITCH not in os.environ, reason=f"DEATHS UNDER RAY NOT TESTED: they take minutes; set {SWITCH}=1 to test them"
)

MAKER = "worker_contexts:context_named"
NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}
DRIVER = """
import sys; from pathlib import Path
from hostile import protect
from onlymymodel.protect.ray_engine import RaySettings
protect(Path(sys.argv[1]), Path(sys.argv[2]), batch_size=1,
        workers=RaySettings("worker_contexts:context_named", "slow", sys.argv[3], largest=2))
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    paths = os.pathsep.join((str(ROOT), str(ROOT / "tests" / "helpers")))
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", paths)
        patched.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patched.setenv("RAY_worker_niceness", "0")  # by default workers wait for every other program of the machine
        patched.setenv("RAY_object_store_minimum_memory_bytes", str(40 << 20))
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args=NODE)
        cluster.add_node(**NODE)
        yield cluster
        cluster.shutdown()  # type: ignore[no-untyped-call]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for index in range(6):
        save_photo(tmp_path / "photos" / f"{index}.png", index, 24 if index % 3 else 28)
    return tmp_path / "photos"


def by_source(out: Path) -> dict[str, Any]:
    return {line["source"]: line for line in lines_of(out)}


def pictures(out: Path) -> dict[str, bytes]:
    return {name: data for name, data in files_of(out).items() if name.endswith("png")}


def test_two_nodes_write_what_one_process_writes(cluster: Any, photos: Path, tmp_path: Path) -> None:
    settings = RaySettings(MAKER, "usual", cluster.address, smallest=2, largest=2)
    protect(photos, tmp_path / "out", workers=settings)
    protect(photos, tmp_path / "one")
    check_lines(photos, tmp_path / "out")
    assert by_source(tmp_path / "out") == by_source(tmp_path / "one")
    assert pictures(tmp_path / "out") == pictures(tmp_path / "one")


@killing
def test_nothing_is_lost_where_an_actor_is_killed(cluster: Any, photos: Path, tmp_path: Path) -> None:
    settings = RaySettings(MAKER, f"once:{tmp_path / 'killed'}", cluster.address, smallest=2, largest=2)
    protect(photos, tmp_path / "out", workers=settings)
    assert (tmp_path / "killed").exists()
    protect(photos, tmp_path / "one")
    check_lines(photos, tmp_path / "out")
    assert by_source(tmp_path / "out") == by_source(tmp_path / "one")
    assert pictures(tmp_path / "out") == pictures(tmp_path / "one")
    before = files_of(tmp_path / "out")
    protect(photos, tmp_path / "out", workers=RaySettings(MAKER, "dead", cluster.address))  # starts no actor
    assert files_of(tmp_path / "out") == before


@killing
def test_a_photo_that_kills_its_actor_fails_alone(cluster: Any, photos: Path, tmp_path: Path) -> None:
    Image.new("RGB", (24, 24), (POISON,) * 3).save(photos / "poison.png")
    settings = RaySettings(MAKER, "poisoned", cluster.address, largest=2, retries=1)
    summary = protect(photos, tmp_path / "out", workers=settings, context=make_poisoned("cpu"), batch_size=4)
    assert (summary.counts["failed"], summary.counts.total()) == (1, 7)
    check_lines(photos, tmp_path / "out")
    assert PhotoManifest(tmp_path / "out").by_source()["poison.png"].reason.startswith("its worker process ended")


@killing
def test_a_run_goes_on_where_a_node_is_removed_and_where_its_driver_is_killed(
    cluster: Any, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(photos), str(out), cluster.address])
    try:
        wait_until(lambda: len(lines_of(out)) >= 2 or driver.poll() is not None, RUN_PATIENCE)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    first = Manifest(out / MANIFEST).load()
    assert 2 <= len(first) < 6
    (*_, node) = cluster.list_all_nodes()

    def remove() -> None:
        wait_until(lambda: len(lines_of(out)) > len(first), RUN_PATIENCE)
        cluster.remove_node(node)

    remover = threading.Thread(target=remove)
    remover.start()
    protect(photos, out, batch_size=1, workers=RaySettings(MAKER, "slow", cluster.address, smallest=2, largest=2))
    remover.join()
    cluster.add_node(**NODE)
    check_lines(photos, out)
    assert Manifest(out / MANIFEST).load()[: len(first)] == first  # with their seconds: nothing was computed twice
    protect(photos, tmp_path / "one", batch_size=1)
    assert pictures(out) == pictures(tmp_path / "one")
