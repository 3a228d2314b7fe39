"""Plants small faults in the ledger and in supervision, one at a time, and counts those that tests detect.

`python3 scripts/mutate.py [--json]`
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
TESTS = (
    "tests/unit/app/pool/test_job_ledger.py",
    "tests/unit/app/pool/test_job_ledger_deaths.py",
    "tests/unit/app/pool/test_job_ledger_workers.py",
    "tests/unit/app/pool/test_job_ledger_histories.py",
    "tests/unit/app/pool/test_job_states.py",
    "tests/unit/app/test_supervision.py",
    "tests/unit/app/test_supervision_histories.py",
    "tests/unit/app/meeting/test_lease_book.py",
)
LEDGER = "gaia/validator/app/pool/job_ledger.py"
RECORDS = "gaia/validator/app/pool/job_records.py"
BOOK = "gaia/validator/app/meeting/lease_book.py"
SUPERVISION = "gaia/validator/app/supervision.py"


class Fault(NamedTuple):
    """One planted fault: in `file`, the only occurrence of `right` becomes `wrong`."""

    name: str
    file: str
    right: str
    wrong: str


FAULTS = (
    Fault("a lost connection is a crash", LEDGER, "                self._depart(name)\n", "                commands += self._bury(name, None, now)\n"),
    Fault("a crash is not counted", BOOK, "crashes=self.crashes + crash.blames_unit", "crashes=self.crashes"),
    Fault("a crash told twice counts twice", BOOK, "if any(told.worker == crash.worker for told in self.deaths):", "if False:"),
    Fault("quarantine one crash late", LEDGER, "if history.crashes < self.crash_limit:", "if history.crashes <= self.crash_limit:"),
    Fault("quarantine forgotten by the next engine", LEDGER, "if history.crashes >= self.crash_limit:", "if False:"),
    Fault("late answers count", LEDGER, "lease.job_id == result.job_id and lease.attempt == result.attempt", "lease.job_id == result.job_id"),
    Fault("the dead are heard", LEDGER, "if worker is None or not worker.is_connected:\n            return []  # its death", "if worker is None:\n            return []  # its death"),
    Fault("a condemned worker gets work", LEDGER, "if not worker.is_condemned:\n                    self.idle", "if True:\n                    self.idle"),
    Fault("a leaving worker gets work", LEDGER, "        if worker.is_leaving:\n", "        if False:\n"),
    Fault("the holder of an inherited unit is ignored", LEDGER, "holder = known.holder if known is not None else None", "holder = None"),
    Fault("a unit that never arrived is lost", RECORDS, "        else:\n            self._enqueue(job, job.unit)", "        else:\n            pass"),
    Fault("deadlines of what waits pass", LEDGER, "while self.deadlines and self.deadlines[0][0] <= now:", "while self.deadlines and self.deadlines[0][0] < now - 1:"),
    Fault("a failed canary kills nobody", RECORDS, "(not worker.is_connected or lease.is_canary)", "not worker.is_connected"),
    Fault("the silent are waited for without end", RECORDS, "(not worker.is_connected or lease.is_canary)", "lease.is_canary"),
    Fault("attempts keep their number", LEDGER, "attempt=unit.attempt + job.history.tries)", "attempt=unit.attempt)"),
    Fault("the acquitted stay blamed", BOOK, "crashes=self.crashes - acquitted", "crashes=self.crashes"),
    Fault("a released lease is still held", BOOK, "            self._memory[slot * _SLOT.size] = _WAS_HELD\n\n    def bury", "            pass\n\n    def bury"),
    Fault("priorities upside down", RECORDS, "(unit.priority, job.order, unit.job_id))", "(-unit.priority, job.order, unit.job_id))"),
    Fault("two engines at once", SUPERVISION, "if holders[0].role is not Role.WORKER or", "if"),
    Fault("a worker leaves before its successor is ready", SUPERVISION, "(worker.started_at, worker.pid) and other.is_admitted", "(worker.started_at, worker.pid)"),
    Fault("no room is kept", SUPERVISION, "is_vacant = not holders or (room > 0 and", "is_vacant = not holders or (True and"),
    Fault("no backoff", SUPERVISION, "    if len(faults) <= limits.free_restarts:\n", "    if True:\n"),
    Fault("the engine before its database", SUPERVISION, "Role.ENGINE: (Role.DATABASE,)", "Role.SIGNER: ()"),
    Fault("silence is no reason", SUPERVISION, "child.silent_s > limits.silence_s.get(child.role, float(\"inf\"))", "child.silent_s > 1e12"),
    Fault("hard limit of those that leave ignored", SUPERVISION, "child.role is Role.WORKER and child.private_mib > limits.hard_mib", "child.role is Role.WORKER and child.kill_at is None and child.private_mib > limits.hard_mib"),
    Fault("patience without end", SUPERVISION, "child.kill_at is not None and now >= child.kill_at", "child.kill_at is not None and now >= child.kill_at + 1e9"),
    Fault("due workers stay", SUPERVISION, 'return "age" if age_s > limits.age_s else worker.due', 'return "age" if age_s > limits.age_s else ""'),
    Fault("the memory of a newborn is judged", SUPERVISION, " and age_s >= limits.settled_after_s", ""),
)  # fmt: skip


def main() -> int:
    """Plant each fault and report; fail if one is not detected."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    as_json = parser.parse_args().json
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "copy")
        for name in ("gaia", "tests", "pyproject.toml", "pytest.ini"):
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__", "data"))
            else:
                shutil.copy(source, copy / name)
        if not _tests_pass(copy):
            print("the tests fail without any fault", file=sys.stderr)
            return 2
        noticed = {fault.name: _is_noticed(copy, fault) for fault in FAULTS}
    unnoticed = [name for name, is_noticed in noticed.items() if not is_noticed]
    if as_json:
        print(json.dumps({"planted": len(FAULTS), "caught": sum(noticed.values()), "unnoticed": unnoticed}))
    else:
        for name, is_noticed in noticed.items():
            print(f"{'caught' if is_noticed else 'MISSED':7} {name}")
        print(f"{sum(noticed.values())} of {len(FAULTS)} planted faults were caught.")
    return 1 if unnoticed else 0


def _is_noticed(copy: Path, fault: Fault) -> bool:
    path = copy / fault.file
    text = path.read_text()
    if text.count(fault.right) != 1:
        raise SystemExit(f"{fault.name}: {fault.file} has {text.count(fault.right)} such places, not one")
    path.write_text(text.replace(fault.right, fault.wrong))
    try:
        return not _tests_pass(copy)
    finally:
        path.write_text(text)


def _tests_pass(copy: Path) -> bool:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:randomly",
        "-p",
        "no:cacheprovider",
        *TESTS,
    ]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    return (
        subprocess.run(command, check=False, cwd=copy, env=environment, capture_output=True).returncode == 0
    )


if __name__ == "__main__":
    sys.exit(main())
