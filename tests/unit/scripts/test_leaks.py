"""No tracked file holds a secret or a trace of a machine, and the scan that says so finds planted ones."""

from __future__ import annotations

import io
import lzma
import subprocess
import zipfile
from pathlib import Path

import pytest
import supply_chain
from supplies import leaks
from supplies.leaks import ALLOWED, SHAPES, leaks_in, leaks_of_files, of_this_machine
from supplies.locked import ROOT

PLANTED = {
    "private key": "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n",
    "seed of a hotkey": '{"secretSeed": "0x' + "1f" * 32 + '"}',
    "access key": "key = AKIA" + "ABCDEFGHIJKLMNOP",
    "token": "ghp_" + "a1B2" * 9,
    "signed token": "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0In0.dBjftJeZ4CVPmB92K27u",
    "webhook": "https://hooks.slack.com/services/" + "T01234567/B01234567/abcdefghijklmnopqrst",
    "folder of a person": "reading /home/" + "alice/gaia/data",
    "work folder": "File /" + "workspace/gaia/validator.py, line 1",
}


def a_repository(folder: Path, **files: bytes) -> Path:
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    subprocess.run(["git", "add", "."], cwd=folder, check=True)
    return folder


def zipped(text: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("member.txt", text)
    return content.getvalue()


def test_nothing_that_is_tracked_leaks() -> None:
    assert [str(leak) for leak in leaks_of_files()] == []


def test_every_shape_has_a_planted_case() -> None:
    assert PLANTED.keys() == SHAPES.keys()


@pytest.mark.parametrize("kind", PLANTED)
def test_planted_leak_is_found_also_in_compressed_files_and_not_repeated_whole(
    kind: str, tmp_path: Path
) -> None:
    text = f"first line\n{PLANTED[kind]}\n".encode()
    root = a_repository(
        tmp_path, **{"plain.md": text, "golden.json.xz": lzma.compress(text), "frames.zip": zipped(text)}
    )

    found = leaks_of_files(root)

    assert [(leak.file, leak.line, leak.kind) for leak in found] == [
        ("frames.zip:member.txt", 2, kind),
        ("golden.json.xz", 2, kind),
        ("plain.md", 2, kind),
    ]
    assert not any(PLANTED[kind].strip() in str(leak) for leak in found)


@pytest.mark.parametrize(
    "harmless",
    [
        "chmod 600 /home/gaia/wallets/validator/hotkeys/default",
        '{"secretSeed": "***"}',
        "see docs/builds/notes.md and scripts/run.py",
        "sha256 " + "1f" * 32,
        "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOC\n",
    ],
)
def test_what_only_looks_alike_is_none(harmless: str) -> None:
    assert list(leaks_in("a.md", harmless.encode(), {})) == []


def test_folder_and_home_of_this_machine_are_found(tmp_path: Path) -> None:
    root = a_repository(tmp_path / "somewhere", **{"a.txt": f"made in {tmp_path / 'somewhere'}".encode()})

    assert [leak.kind for leak in leaks_of_files(root)] == ["this folder"]
    assert "this folder" in of_this_machine(root)


def test_untracked_files_are_left_alone_and_the_command_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = a_repository(tmp_path, **{"a.txt": b"nothing"})
    (root / "b.txt").write_text(PLANTED["token"])
    found = leaks_of_files(root)
    monkeypatch.setattr(leaks, "leaks_of_files", lambda: found)
    monkeypatch.setattr(leaks, "tracked_files", lambda: [root / "a.txt"])

    assert supply_chain.main(["scan"]) == 0
    assert capsys.readouterr().out == "1 files, 0 leaks\n"


def test_every_allowance_is_of_a_file_that_needs_it() -> None:
    for name, kinds in ALLOWED.items():
        found = {leak.kind for leak in leaks_in(name, (ROOT / name).read_bytes(), {})}
        assert set(kinds) <= found, name
