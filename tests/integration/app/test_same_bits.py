"""Scores are the same bits on every processor and with any number of workers, and no worker compiles anything."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest

from gaia.validator.app.children import preload
from tests.support.forecast_stores import a_field, a_store, reference_files
from tests.support.patience import patience
from tests.support.repository import ROOT
from tests.support.weather_handlers import score_batch, score_day1

FIELDS = {"2t": 280.0, "msl": 101_000.0, "10u": 0.0, "z500": 55_000.0}
MINERS = 6
Payload = dict[str, Any]
Components = list[dict[str, Any]]
SHOW = """
    import json, sys
    from tests.support.weather_handlers import score_day1
    print(json.dumps([score_day1(payload)["components"] for payload in json.load(sys.stdin)]))
"""


@pytest.fixture(scope="module")
def payloads(tmp_path_factory: pytest.TempPathFactory) -> list[Payload]:
    """Day 1 of several miners at one degree."""
    folder = tmp_path_factory.mktemp("same_bits")
    roles = {
        role: reference_files(folder / role, {name: a_field(seed, mean) for name, mean in FIELDS.items()})
        for seed, role in enumerate(["truth", "climatology", "baseline", "persistence"], start=100)
    }
    return [
        a_store(folder / str(seed), {name: a_field(seed, mean) for name, mean in FIELDS.items()}) | roles
        for seed in range(MINERS)
    ]


@pytest.fixture(scope="module")
def expected(payloads: list[Payload]) -> list[Components]:
    return [score_day1(payload)["components"] for payload in payloads]


@pytest.mark.parametrize("processor", ["generic", "nehalem", "haswell"])
def test_another_processor_gives_the_same_bits(
    payloads: list[Payload], expected: list[Components], processor: str, tmp_path: Path
) -> None:
    environment = os.environ | {"NUMBA_CPU_NAME": processor, "NUMBA_CACHE_DIR": str(tmp_path)}
    if processor != "generic":
        environment["NUMBA_CPU_FEATURES"] = ""

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SHOW)],
        input=json.dumps(payloads),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected


@pytest.fixture(scope="module")
def fork_server() -> ForkServerContext:
    """Processes forked as compute workers are, from a server that has warmed up."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([warm.__module__])
    return context


def warm() -> None:
    preload.warm_up()


def score(payload: Payload) -> Components:
    components: Components = score_day1(payload)["components"]
    return components


def together(payload: Payload) -> dict[str, Components]:
    return {hotkey: value["components"] for hotkey, value in score_batch(payload).items()}


def batch_of(payloads: list[Payload]) -> Payload:
    shared = {name: value for name, value in payloads[0].items() if name not in ("store_dir", "digests")}
    forecasts = {
        str(place): {"store_dir": payload["store_dir"], "digests": payload["digests"]}
        for place, payload in enumerate(payloads)
    }
    return shared | {"kind": "day1", "forecasts": forecasts}


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_any_number_of_workers_gives_the_same_bits(
    payloads: list[Payload], expected: list[Components], workers: int, fork_server: ForkServerContext
) -> None:
    with ProcessPoolExecutor(workers, mp_context=fork_server) as executor:
        alone = list(executor.map(score, payloads))
        batches = [batch_of(payloads[:2]), batch_of(payloads)]
        some, all_ = executor.map(together, batches)

    assert alone == expected
    assert list(some.values()) == expected[:2]
    assert list(all_.values()) == expected


FIRST_UNIT = """
    import json, os, sys, time
    from gaia.validator.app.children import preload
    preload.warm_up()
    assert len(os.listdir("/proc/self/task")) == 1, "a thread would not survive the fork"
    from numba.core import event
    from gaia.tasks.defined_tasks.weather.validator.handlers import resolve
    payloads = json.load(sys.stdin)
    reader, writer = os.pipe()
    if os.fork() == 0:
        compilations, times = [], []
        with event.install_listener("numba:compile", event.RecordingListener()) as heard:
            for payload in payloads:
                started = time.process_time()
                resolve("weather.score.day1")(payload)
                times.append(time.process_time() - started)
        os.write(writer, json.dumps([len(heard.buffer), times]).encode())
        os._exit(0)
    os.wait()
    sys.stdout.write(os.read(reader, 65536).decode())
"""


def test_the_first_unit_of_a_worker_compiles_nothing_and_is_as_fast_as_the_next(
    payloads: list[Payload],
) -> None:
    environment = os.environ | preload.SINGLE_THREADED

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FIRST_UNIT)],
        input=json.dumps(payloads),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
    )

    assert done.returncode == 0, done.stderr
    compilations, times = json.loads(done.stdout)
    assert compilations == 0
    # Of the processor's time, whatever else runs: compiling takes a second, importing a tenth of one; pages copied after a fork take 40 ms at most.
    assert times[0] < max(times[1:]) + 0.08, times


def test_processes_that_compile_at_once_do_not_disturb_each_other(
    tmp_path: Path, payloads: list[Payload], expected: list[Components]
) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    show = [sys.executable, "-c", textwrap.dedent(SHOW)]

    started = [
        subprocess.Popen(
            show,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        )
        for _ in range(3)
    ]
    results = [process.communicate(json.dumps(payloads), timeout=patience(120)) for process in started]

    assert [process.returncode for process in started] == [0] * 3, results
    assert [json.loads(out) for out, _ in results] == [expected] * 3


def test_what_was_compiled_once_is_loaded_the_next_time(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    load = [sys.executable, "-c", "import gaia.tasks.defined_tasks.weather.validator.kernel"]

    def kept() -> dict[Path, int]:
        subprocess.run(load, cwd=ROOT, env=environment, check=True)
        return {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb*")}

    first = kept()

    assert first
    assert kept() == first


FORK_SERVER = """
    import sys, time
    from pathlib import Path
    from gaia.validator.app.children import spawning
    spawning.prepare(Path(sys.argv[1]), is_forking=True)
    while not spawning.can_fork(Path(sys.argv[1])):
        time.sleep(0.01)
"""


def test_fork_server_reports_damaged_machine_code_once_and_the_next_start_compiles_nothing(
    tmp_path: Path,
) -> None:
    (tmp_path / "run").mkdir()
    kept = tmp_path / "compiled"
    environment = os.environ | {"NUMBA_CACHE_DIR": str(kept)}

    def start() -> list[dict[str, Any]]:
        show = [sys.executable, "-c", textwrap.dedent(FORK_SERVER), str(tmp_path)]
        done = subprocess.run(show, capture_output=True, text=True, cwd=ROOT, env=environment, check=True)
        return [json.loads(line) for line in done.stderr.splitlines()]

    def compiled() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in kept.rglob("*.nbc")}

    start()
    sealed = sorted(path.parent for path in kept.rglob("SEAL"))
    damaged, truncated, *_ = (path for path in kept.rglob("*.nbc"))
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    os.truncate(truncated, 100)
    broken = compiled()

    reports = start()
    mended = compiled()
    silence = start()

    assert [report["event"] for report in reports] == ["compiled_code_unusable"] * 2
    assert {report["role"] for report in reports} == {"fork_server"}
    assert {report["path"] for report in reports} == {str(path.parents[1]) for path in (damaged, truncated)}
    assert silence == []
    assert {path for path in mended if mended[path] != broken.get(path)} >= {damaged, truncated}
    assert compiled() == mended
    assert sorted(path.parent for path in kept.rglob("SEAL")) == sealed
