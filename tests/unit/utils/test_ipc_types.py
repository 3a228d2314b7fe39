"""What crosses a process arrives whole, in order, and as what it was."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaia.validator.utils import ipc_types
from gaia.validator.utils.errors import MinerFault
from gaia.validator.utils.identities import JobId
from gaia.validator.utils.ipc_types import (
    Ack,
    Failure,
    FrameReader,
    Hello,
    LeaveRequest,
    ResultUnit,
    ToEngine,
    ToWorker,
    WorkUnit,
    encode_frame,
)

A = JobId("a")


def a_unit(payload: dict[str, Any] | None = None) -> WorkUnit:
    return WorkUnit(job_id=A, handler="weather.score.day1", payload=payload or {}, deadline_at=9.5)


@given(st.lists(st.integers(0, 70_000), min_size=1, max_size=5), st.integers(1, 40_000))
def test_frames_of_any_size_survive_being_cut_anywhere(sizes: list[int], cut: int) -> None:
    units = [a_unit({"text": "x" * size}) for size in sizes]
    stream = b"".join(encode_frame(unit) for unit in units)
    reader: FrameReader[ToWorker] = FrameReader(ToWorker)

    received = []
    for start in range(0, len(stream), cut):
        received += reader.feed(stream[start : start + cut])

    assert received == units


def test_messages_of_one_stream_keep_their_types() -> None:
    messages = [
        Hello(seat=1, incarnation=2, pid=3, holding=A, attempt=1),
        ResultUnit(job_id=A, attempt=1, value={"rmse": 1.0}),
        LeaveRequest(reason="max_jobs"),
    ]

    received: list[ToEngine] = FrameReader(ToEngine).feed(b"".join(map(encode_frame, messages)))

    assert received == messages


def test_message_of_another_stream_is_refused() -> None:
    with pytest.raises(ValueError, match="ack"):
        FrameReader(ToEngine).feed(encode_frame(Ack(job_id=A, attempt=1)))


def test_frame_that_claims_to_be_too_long_is_refused_before_it_is_read() -> None:
    with pytest.raises(ValueError, match="exceeds"):
        FrameReader(ToEngine).feed(b"\xff\xff\xff\xff")


def test_message_that_is_too_long_is_refused_by_its_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipc_types, "MAX_FRAME_BYTES", 100)

    with pytest.raises(ValueError, match="send a path"):
        encode_frame(a_unit({"text": "x" * 200}))


def test_successful_result_unwraps_to_its_value() -> None:
    assert ResultUnit(job_id=A, attempt=1, value={"rmse": 1.0}).unwrap() == {"rmse": 1.0}


def test_failed_result_unwraps_to_the_error_it_carries() -> None:
    result = ResultUnit(job_id=A, attempt=1, failure=Failure.of(MinerFault("swapped")))

    with pytest.raises(MinerFault, match="swapped"):
        result.unwrap()
    assert not result.succeeded
