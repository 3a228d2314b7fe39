"""The units of a campaign: most compute, a few have a vice; each one's right answer is known beforehand."""

from __future__ import annotations

import ctypes
import hashlib
import time
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

Payload = dict[str, Any]

READS = ()
WRITES = ()

_MIB = 2**20
_HOG_MIB = 4096


class Kind(NamedTuple):
    """A sort of unit: how common, and the failure that is its right answer; none: its digest is."""

    handler: str
    share: float
    failure: str | None


KINDS = (
    Kind("chaos.digest", 0.93, None),
    Kind("chaos.bulky", 0.05, None),
    Kind("chaos.segfault", 0.007, "QuarantinedError"),
    Kind("chaos.hang", 0.003, "DeadlineExceeded"),
    Kind("chaos.hog", 0.007, "MemoryError"),
    Kind("chaos.native_hog", 0.003, "QuarantinedError"),
)


def resolve(name: str) -> Callable[[Payload], Payload]:
    """Return the handler called ``chaos.<name>``, as a compute worker asks for it."""
    handler: Callable[[Payload], Payload] = globals()[name.removeprefix("chaos.")]
    return handler


def kind_of(seed: int, number: int) -> Kind:
    """Say what unit `number` of a campaign is."""
    chance = Random(f"{seed}:{number}").random()
    for kind in KINDS:
        chance -= kind.share
        if chance < 0:
            return kind
    return KINDS[0]


def payload_of(seed: int, number: int) -> Payload:
    """Return what unit `number` is given."""
    random = Random(f"{number}:{seed}")
    return {
        "seed": seed,
        "number": number,
        "seconds": min(0.05, random.expovariate(200.0)),
        "padding": random.choice((64, 256, 1024, 2048)) * 1024,
    }


def digest_of(seed: int, number: int) -> str:
    """Return the right answer of a unit without vices."""
    return hashlib.sha256(f"{seed}:{number}".encode()).hexdigest()


def digest(payload: Payload) -> Payload:
    """Compute for a while, and answer."""
    end = time.perf_counter() + payload["seconds"]
    while time.perf_counter() < end:
        pass
    return {"digest": digest_of(payload["seed"], payload["number"])}


def bulky(payload: Payload) -> Payload:
    """Answer with so much that a kill can fall in the middle of the message."""
    return {**digest(payload), "padding": "x" * payload["padding"]}


def segfault(_payload: Payload) -> Payload:
    """Die of a segmentation fault."""
    ctypes.string_at(0)
    return {}


def hang(_payload: Payload) -> Payload:
    """Never come back from native code, and let no other Python thread run."""
    while True:
        ctypes.PyDLL(None).sleep(3600)


def hog(_payload: Payload) -> Payload:
    """Ask for far more memory than a unit may have."""
    return {"size": len(bytearray(_HOG_MIB * _MIB))}


def native_hog(_payload: Payload) -> Payload:
    """Allocate in native code until refused, and die of that as careless native code does."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    for _ in range(_HOG_MIB):
        block = libc.malloc(ctypes.c_size_t(8 * _MIB))
        ctypes.memset(block or 0, 1, 8 * _MIB)
    return {}
