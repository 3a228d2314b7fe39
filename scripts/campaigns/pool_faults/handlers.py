"""The units of a campaign: most compute, a few misbehave; the right answer of each is known."""

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
    """A kind of unit: its frequency, and the failure that is its right answer, or "" if that is a digest."""

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
    """Return the handler ``chaos.<name>``; compute workers call this."""
    handler: Callable[[Payload], Payload] = globals()[name.removeprefix("chaos.")]
    return handler


def kind_of(seed: int, number: int) -> Kind:
    """Return the kind of unit `number`."""
    chance = Random(f"{seed}:{number}").random()
    for kind in KINDS:
        chance -= kind.share
        if chance < 0:
            return kind
    return KINDS[0]


def payload_of(seed: int, number: int) -> Payload:
    """Return the payload of unit `number`."""
    random = Random(f"{number}:{seed}")
    return {
        "seed": seed,
        "number": number,
        "seconds": min(0.05, random.expovariate(200.0)),
        "padding": random.choice((64, 256, 1024, 2048)) * 1024,
    }


def digest_of(seed: int, number: int) -> str:
    """Return the right answer of a unit that computes."""
    return hashlib.sha256(f"{seed}:{number}".encode()).hexdigest()


def digest(payload: Payload) -> Payload:
    """Compute for a while, and return the digest."""
    end = time.perf_counter() + payload["seconds"]
    while time.perf_counter() < end:
        pass
    return {"digest": digest_of(payload["seed"], payload["number"])}


def bulky(payload: Payload) -> Payload:
    """Return a large answer, so that a kill can interrupt the message."""
    return {**digest(payload), "padding": "x" * payload["padding"]}


def segfault(_payload: Payload) -> Payload:
    """Cause a segmentation fault."""
    ctypes.string_at(0)
    return {}


def hang(_payload: Payload) -> Payload:
    """Never return from native code, and block all Python threads."""
    while True:
        ctypes.PyDLL(None).sleep(3600)


def hog(_payload: Payload) -> Payload:
    """Allocate far more memory than a unit may have."""
    return {"size": len(bytearray(_HOG_MIB * _MIB))}


def native_hog(_payload: Payload) -> Payload:
    """Allocate in native code until that fails, and then crash like careless native code."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    for _ in range(_HOG_MIB):
        block = libc.malloc(ctypes.c_size_t(8 * _MIB))
        ctypes.memset(block or 0, 1, 8 * _MIB)
    return {}
