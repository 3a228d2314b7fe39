"""Delivers signals through a socket, so that a selector can wait for them."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def signals_noted(numbers: Sequence[signal.Signals]) -> Iterator[socket.socket]:
    """Yield a socket to which the numbers of arriving signals are written, one byte each.

    These signals have no other effect until the context ends, which restores their handlers.
    """
    receiver, sender = socket.socketpair()
    with receiver, sender:
        receiver.setblocking(False)
        sender.setblocking(False)
        earlier_fd = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        earlier = {number: signal.signal(number, lambda *_: None) for number in numbers}
        try:
            yield receiver
        finally:
            signal.set_wakeup_fd(earlier_fd)
            for number, handler in earlier.items():
                signal.signal(number, handler)
