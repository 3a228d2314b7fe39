"""Ways out of a compute worker by sockets; see `escapes`."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

from tests.support.syscalls import call

Payload = dict[str, Any]
Attempt = Callable[[Payload], object]
FAMILIES = {
    "unix": 1,
    "inet": 2,
    "inet6": 10,
    "netlink": 16,
    "packet": 17,
    "rds": 21,
    "can": 29,
    "bluetooth": 31,
    "alg": 38,
    "vsock": 40,
    "xdp": 44,
}


def new_socket(family: int) -> Attempt:
    kind = socket.SOCK_RAW if family == socket.AF_NETLINK else socket.SOCK_STREAM
    return lambda p: socket.socket(family, kind).close()


def address_of(path: bytes) -> bytes:
    return struct.pack("=H", socket.AF_UNIX) + path


def every_socket(attempt: Callable[[int], object]) -> None:
    """Try with each socket the worker has; raise what the last refusal was, if none did it."""
    refused: OSError | None = None
    for descriptor in range(3, 64):
        try:
            attempt(descriptor)
        except OSError as error:
            if error.errno not in (errno.EBADF, errno.ENOTSOCK):
                refused = error
        else:
            return
    raise refused or OSError(errno.EBADF, "no socket")


def dial(address: bytes) -> Attempt:
    def attempt(payload: Payload) -> None:
        content = address.replace(b"SIGNER", os.fsencode(payload["signer"]))
        # Ours are connected already, or wait for the engine's next life; a stranger's would do as well.
        with contextlib.suppress(OSError):
            socket.socket(socket.AF_UNIX).detach()
        every_socket(lambda descriptor: call("connect", descriptor, content, len(content)))

    return attempt


def on_every_socket(name: str, *arguments: int | bytes | None) -> Attempt:
    return lambda p: every_socket(lambda descriptor: call(name, descriptor, *arguments))


def udp_through_the_engine(payload: Payload) -> None:
    target = struct.pack("!BBH4s8x", 0, 2, 9, bytes([127, 0, 0, 1]))
    every_socket(lambda descriptor: call("sendto", descriptor, b"x", 1, 0, target, 16))


def tcp_to_loopback(payload: Payload) -> None:
    with socket.socket() as connection:
        connection.connect(("127.0.0.1", payload["port"]))


def udp_to_loopback(payload: Payload) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.sendto(b"x", ("127.0.0.1", payload["port"]))


def listen_on_tcp(payload: Payload) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
