"""Messages over real sockets on loopback."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from gaia.validator.utils.errors import ConfigurationError
from gaia.validator.utils.messenger import LONGEST_BODY, Message, Messenger, Urgency
from tests.support.patience import patience
from tests.support.repository import ROOT
from tests.support.webhooks import stuck_service, webhook

NEWS = Message(title="Gaia validator", body="The weights are old.", urgency=Urgency.FAILURE)


async def test_message_reaches_every_address() -> None:
    async with webhook() as first, webhook() as second:
        failures = await Messenger([first.address, second.address], "--notify").send(NEWS)

        assert failures == []
        for hook in (first, second):
            [posted] = hook.posted
            assert (posted["title"], posted["message"], posted["type"]) == (NEWS.title, NEWS.body, "failure")


async def test_address_that_refuses_keeps_no_other_from_the_message_and_shows_no_secret() -> None:
    async with webhook("500 No") as broken, webhook() as sound:
        failures = await Messenger([broken.address, sound.address], "--notify").send(NEWS)

        assert len(sound.posted) == 1
        assert failures == ["JSON refused the message"]


async def test_long_body_is_cut_to_what_every_service_takes() -> None:
    async with webhook() as hook:
        long = Message(title="t", body="x" * 5000, urgency=Urgency.NEWS)

        assert await Messenger([hook.address], "--notify").send(long) == []

        assert len(hook.posted[0]["message"]) == LONGEST_BODY


def test_unknown_address_is_named_by_its_number_and_never_repeated() -> None:
    with pytest.raises(ConfigurationError, match=r"address 2 \(tlgram\)") as refusal:
        Messenger(["json://127.0.0.1:9/", "tlgram://hushhush/1"], "GAIA_NOTIFY_URLS")

    assert "hushhush" not in str(refusal.value)
    assert "GAIA_NOTIFY_URLS" in str(refusal.value)


async def test_service_that_takes_nothing_in_time_keeps_no_other_from_the_message_and_gets_no_second_thread() -> (
    None
):
    with stuck_service() as stuck:
        async with webhook() as sound:
            messenger = Messenger([stuck, sound.address], "--notify")

            first = await messenger.deliver(NEWS, within_s=patience(1.0))
            second = await messenger.deliver(NEWS, within_s=patience(1.0))

        assert [each.failure.partition(" within")[0] for each in first] == ["JSON took no message", ""]
        assert [each.failure for each in second] == ["JSON has not taken the message before this one", ""]
        assert len(sound.posted) == 2
        async with asyncio.timeout(patience(10)):
            while sum(thread.name == "message" for thread in threading.enumerate()) > 1:
                await asyncio.sleep(0.01)


def test_end_of_a_program_does_not_wait_for_a_stuck_service() -> None:
    program = (
        "import asyncio, sys\n"
        "from gaia.validator.utils.messenger import Message, Messenger, Urgency\n"
        "message = Message(title='t', body='b', urgency=Urgency.NEWS)\n"
        "sent = Messenger([sys.argv[1]], '--notify').deliver(message, within_s=0.2)\n"
        "print(asyncio.run(sent)[0].failure, flush=True)\n"
    )
    with stuck_service() as address:
        done = subprocess.run(
            [sys.executable, "-c", program, address],
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=patience(120),
            check=False,
        )

    assert (done.returncode, done.stdout) == (0, "JSON took no message within 0.2 s\n")
