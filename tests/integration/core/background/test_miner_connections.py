"""What is kept for miners that nobody speaks to: connections are closed, keys of those that left are forgotten."""

from __future__ import annotations

from gaia.validator.core.miner_comms import MinerComms
from gaia.validator.utils.identities import Hotkey
from tests.support.served_miners import Starter, a_finished_forecast


async def test_idle_connection_to_a_miner_is_closed_and_the_next_call_opens_another(
    comms: MinerComms, start: Starter
) -> None:
    neuron, job_id, _ = await a_finished_forecast(comms, start)

    first = await comms.close_idle()
    again = await comms.close_idle()

    assert (first.closed > 0, first.in_use) == (True, 0)
    assert again.closed == 0
    assert await comms.forecast_ready(neuron, job_id)


async def test_key_of_a_miner_that_left_is_forgotten_and_others_stay(
    comms: MinerComms, start: Starter
) -> None:
    neuron, job_id, _ = await a_finished_forecast(comms, start)

    of_another = comms.forget({Hotkey("5Another")})
    of_this = comms.forget({neuron.hotkey})
    once_more = comms.forget({neuron.hotkey})

    assert (of_another, of_this, once_more) == (0, 1, 0)
    # A new handshake makes up for it.
    assert await comms.forecast_ready(neuron, job_id)
