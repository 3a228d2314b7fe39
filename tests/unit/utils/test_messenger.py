"""Messages over real sockets on loopback."""

from __future__ import annotations

import pytest

from gaia.validator.utils.errors import ConfigurationError
from gaia.validator.utils.messenger import LONGEST_BODY, Message, Messenger, Urgency
from tests.support.webhooks import webhook

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
