"""Other validators of the local chain vote as ours did, and against it when they are told to."""

from __future__ import annotations

from gaia.localnet.chain.runtime import ChainRuntime
from gaia.localnet.chain.storage import ChainStorage
from gaia.localnet.chain.subnet.peers import Peers

_NETUID = 57
_OURS = [[2, 65535], [3, 20000], [4, 0]]


def _storage() -> ChainStorage:
    storage = ChainStorage(ChainRuntime.load())
    storage.write("LastUpdate", _NETUID, value=[5, 0, 0, 0, 0])
    return storage


def _votes(storage: ChainStorage) -> list[list[int]]:
    return [list(pair) for pair in storage.read("Weights", _NETUID, 1)]


def test_peer_has_no_weights_before_ours_are_there() -> None:
    storage = _storage()

    Peers(storage, _NETUID, [1], ours=0).vote(10)

    assert _votes(storage) == []
    assert list(storage.read("LastUpdate", _NETUID)) == [5, 0, 0, 0, 0]


def test_peer_votes_as_we_did_and_its_update_is_dated() -> None:
    storage = _storage()
    storage.write("Weights", _NETUID, 0, value=_OURS)

    Peers(storage, _NETUID, [1], ours=0).vote(10)

    assert _votes(storage) == [[2, 65535], [3, 20000]]
    assert list(storage.read("LastUpdate", _NETUID)) == [5, 10, 0, 0, 0]


def test_peer_that_turns_gives_all_to_the_miner_that_we_like_least() -> None:
    storage = _storage()
    storage.write("Weights", _NETUID, 0, value=_OURS)
    peers = Peers(storage, _NETUID, [1], ours=0, turn_after=2)

    votes = []
    for block in range(10, 13):
        peers.vote(block)
        votes.append(_votes(storage))

    assert votes == [[[2, 65535], [3, 20000]]] * 2 + [[[3, 65535]]]
