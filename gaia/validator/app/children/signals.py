"""Signals that a loop reads from a socket, beside whatever else it waits for."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def signals_noted(numbers: Sequence[signal.Signals]) -> Iterator[socket.socket]:
    """Yield a socket that the numbers of arriving signals are written to, one byte each.

    Nothing else comes of these signals until the context ends, which gives them their former handlers.
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
