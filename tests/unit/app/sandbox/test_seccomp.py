"""The filter, run by an interpreter of our own: what it lets through, and that it lets nothing else through."""

from __future__ import annotations

import struct
from pathlib import Path
from re import findall

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaia.validator.app.sandbox.seccomp import (
    ABSENT,
    ALLOW,
    BROKER,
    DENY,
    KILL,
    NOTIFY,
    PLAIN,
    TRAPPED,
    broker_filter,
    trap_filter,
    worker_filter,
    worker_rules,
)
from gaia.validator.app.sandbox.syscalls import AUDIT_ARCH, machine, numbers_of

PID = 4321
PINNED = (0x20_0000_0000, 40)
MACHINES = sorted(AUDIT_ARCH)
HEADERS = {
    "x86_64": (Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), r"__NR_(\w+)\s+(\d+)"),
    "aarch64": (Path("/usr/include/asm-generic/unistd.h"), r"#define __NR(?:3264)?_(\w+)\s+(\d+)"),
}
THREAD = 0x3D0F00
HEAP = 0x7F12_3456_7000
WORDS = st.integers(0, 2**64 - 1)


def verdict(program: bytes, architecture: int, number: int, arguments: tuple[int, ...] = ()) -> int:
    """Run a filter as the kernel does."""
    six = (*arguments, *[0] * (6 - len(arguments)))
    data = struct.pack("=IIQ6Q", number, architecture, 0, *(each % 2**64 for each in six))
    instructions = list(struct.iter_unpack("HBBI", program))
    accumulator, place = 0, 0
    while True:
        code, true, false, operand = instructions[place]
        place += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, operand)
            case 0x54:
                accumulator &= operand
            case 0x06:
                return int(operand)
            case _:
                holds = {
                    0x15: accumulator == operand,
                    0x25: accumulator > operand,
                    0x35: accumulator >= operand,
                    0x45: bool(accumulator & operand),
                }[code]
                place += true if holds else false


def of_worker(name: str, *arguments: int, on: str = "x86_64") -> int:
    """What a worker's filter says of a call by its name."""
    program = worker_filter(PID, PINNED, on)
    return verdict(program, AUDIT_ARCH[on], numbers_of(on)[name], arguments)


@pytest.mark.parametrize("on", MACHINES)
@given(number=st.integers(0, 2**32 - 1), arguments=st.tuples(*[WORDS] * 6))
def test_unnamed_call_is_never_allowed(on: str, number: int, arguments: tuple[int, ...]) -> None:
    named = {*PLAIN, *worker_rules(PID, PINNED)}
    allowed = {known for name, known in numbers_of(on).items() if name in named}

    found = verdict(worker_filter(PID, PINNED, on), AUDIT_ARCH[on], number, arguments)

    assert number in allowed or found in (DENY, KILL, ABSENT)


@pytest.mark.parametrize("on", MACHINES)
def test_plain_call_is_allowed(on: str) -> None:
    names = PLAIN & numbers_of(on).keys()

    assert {of_worker(name, on=on) for name in names} == {ALLOW}


@pytest.mark.parametrize("on", MACHINES)
@given(number=st.integers(0, 2**32 - 1), architecture=st.integers(0, 2**32 - 1))
def test_call_of_another_machine_kills(on: str, number: int, architecture: int) -> None:
    found = verdict(worker_filter(PID, PINNED, on), architecture, number)

    assert found == KILL or architecture == AUDIT_ARCH[on]


def test_call_of_the_x32_machine_kills() -> None:
    assert verdict(worker_filter(PID, PINNED, "x86_64"), AUDIT_ARCH["x86_64"], 0x40000000 | 39) == KILL


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("clone", (THREAD,)),
        ("clone", (THREAD | 0x400000,)),
        ("connect", (5, *PINNED)),
        ("fcntl", (5, 1030)),
        ("ioctl", (5, 0x5421)),
        ("kill", (PID, 9)),
        ("madvise", (HEAP, 4096, 4)),
        ("mmap", (0, 2**33, 3, 0x22, -1)),
        ("mmap", (HEAP, 4096, 5, 0x12, 3)),
        ("mprotect", (HEAP, 4096, 5)),
        ("mremap", (HEAP, 4096, 2**33, 1)),
        ("munmap", (HEAP, 2**33)),
        ("prctl", (15, HEAP)),
        ("prlimit64", (0, 7, 0, HEAP)),
        ("sendto", (5, HEAP, 10, 0, 0, 0)),
        ("tgkill", (PID, PID + 1, 6)),
    ],
)
@pytest.mark.parametrize("on", MACHINES)
def test_what_computing_needs_is_allowed(name: str, arguments: tuple[int, ...], on: str) -> None:
    assert of_worker(name, *arguments, on=on) == ALLOW


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("clone", (17,)),
        ("clone", (THREAD & ~0x10000,)),
        ("clone", (THREAD | 0x10000000,)),
        ("connect", (5, PINNED[0] + 1, PINNED[1])),
        ("connect", (5, PINNED[0], PINNED[1] - 1)),
        ("connect", (5, PINNED[0] & 0xFFFFFFFF, PINNED[1])),
        ("connect", (5, PINNED[0] | 1 << 40, PINNED[1])),
        ("fcntl", (5, 8, 1)),
        ("fcntl", (5, 10, 9)),
        ("fcntl", (5, 15, HEAP)),
        ("ioctl", (5, 0x5412)),
        ("ioctl", (5, 0x8901)),
        ("kill", (0, 9)),
        ("kill", (-1, 9)),
        ("kill", (PID - 1, 0)),
        ("madvise", (PINNED[0], 4096, 4)),
        ("mmap", (0, 4096, 7, 0x22, -1)),
        ("mmap", (PINNED[0], 4096, 3, 0x32, -1)),
        ("mmap", (0x1_0000_0000, 2**40, 3, 0x32, -1)),
        ("mprotect", (HEAP, 4096, 7)),
        ("mprotect", (PINNED[0], 4096, 3)),
        ("mprotect", (PINNED[0] - 4096, 8192, 3)),
        ("mprotect", (0x1000, 2**40, 3)),
        ("mremap", (PINNED[0], 4096, 4096, 1)),
        ("mremap", (HEAP, 4096, 4096, 3, PINNED[0])),
        ("munmap", (PINNED[0], 4096)),
        ("munmap", (0x1000, 2**40)),
        ("prctl", (1, 0)),
        ("prctl", (4, 1)),
        ("prlimit64", (0, 7, HEAP)),
        ("prlimit64", (PID + 1, 7, 0, HEAP)),
        ("sendto", (5, HEAP, 10, 0, HEAP, 16)),
        ("tgkill", (PID + 1, PID, 9)),
    ],
)
@pytest.mark.parametrize("on", MACHINES)
def test_what_reaches_beyond_is_refused(name: str, arguments: tuple[int, ...], on: str) -> None:
    assert of_worker(name, *arguments, on=on) == DENY


@given(address=WORDS, length=WORDS)
def test_no_address_but_the_pinned_one_can_be_dialled(address: int, length: int) -> None:
    assert of_worker("connect", 5, address, length) == (ALLOW if (address, length) == PINNED else DENY)


@given(start=st.integers(0, 2**47 - 1), length=st.integers(1, 2**47 - 1))
@pytest.mark.parametrize("name", ["munmap", "mprotect", "madvise"])
def test_no_range_that_holds_the_pinned_page_can_be_changed(name: str, start: int, length: int) -> None:
    touches = start < PINNED[0] + 4096 and PINNED[0] < start + length

    assert not (touches and of_worker(name, start, length, 1) == ALLOW)


def test_nothing_can_be_dialled_without_an_address() -> None:
    program = worker_filter(PID, None, "x86_64")

    assert verdict(program, AUDIT_ARCH["x86_64"], numbers_of("x86_64")["connect"], (5, *PINNED)) == DENY


def test_newer_calls_look_absent_so_that_libraries_use_the_older() -> None:
    assert of_worker("clone3") == ABSENT
    assert of_worker("openat2") == ABSENT


@pytest.mark.parametrize("on", MACHINES)
def test_broker_is_asked_for_paths_and_nothing_else(on: str) -> None:
    numbers = numbers_of(on)

    found = {name: verdict(trap_filter(on), AUDIT_ARCH[on], number) for name, number in numbers.items()}

    assert {name for name, action in found.items() if action == NOTIFY} == TRAPPED & numbers.keys()
    assert set(found.values()) == {NOTIFY, ALLOW}


@pytest.mark.parametrize("on", MACHINES)
def test_broker_has_files_but_no_processes_and_sockets(on: str) -> None:
    numbers = numbers_of(on)

    found = {name: verdict(broker_filter(on), AUDIT_ARCH[on], number) for name, number in numbers.items()}

    assert {name for name, action in found.items() if action == ALLOW} == BROKER & numbers.keys()
    assert not BROKER & {"clone", "connect", "kill", "seccomp", "sendto", "tgkill"}


@pytest.mark.parametrize("on", MACHINES)
def test_numbers_are_the_kernels(on: str) -> None:
    header, pattern = HEADERS[on]
    if not header.exists():
        pytest.skip(f"no {header}")
    known = {name: int(number) for name, number in findall(pattern, header.read_text())}
    known.setdefault("newfstatat", known.get("fstatat", -1))

    ours = numbers_of(on)

    assert ours == {name: known.get(name) for name in ours}


def test_numbers_of_a_strange_machine_are_not_known() -> None:
    with pytest.raises(KeyError):
        numbers_of("s390x")


def test_this_machine_is_known() -> None:
    assert machine() in AUDIT_ARCH
