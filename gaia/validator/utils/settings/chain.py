"""Settings of the chain: which subnet, through which node, and with which hotkey."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, StringConstraints

from gaia.validator.utils.setting_sources import HandedSettings, at_home, setting

FINNEY: Final = "wss://entrypoint-finney.opentensor.ai:443"
"""A public node of Bittensor's main network."""
_MORE_OF_FINNEY = ("wss://lite.chain.opentensor.ai:443", "wss://lite.sub.latent.to:443")
"""Further public nodes of the same network, by another operator too; as in the SDK's settings."""


class ChainSettings(HandedSettings):
    """Settings for reading the chain and signing."""

    heading: ClassVar[str] = "Chain"

    netuid: int = setting(
        57,
        "Number of the subnet that this validator serves. Change it only for another subnet, such as testnet's.",
        "NETUID",
        ge=0,
        le=65535,
    )
    chain_endpoint: str = setting(
        FINNEY,
        "Websocket address of the subtensor node. Use a node of your own if the public one is slow.",
        "SUBTENSOR_ADDRESS",
        pattern=r"^wss?://",
    )
    chain_more_endpoints: list[Annotated[str, StringConstraints(pattern=r"^wss?://")]] = setting(
        [],
        "Websocket addresses of further nodes. What most nodes say is believed, so name two or more. Empty: two public"
        " nodes beside the public one of GAIA_CHAIN_ENDPOINT, and none beside another.",
    )
    chain_timeout_s: float = setting(
        60.0,
        "Seconds to wait for one answer from the chain. Raise it for a slow node.",
        gt=0,
    )
    metagraph_interval_s: float = setting(
        300.0,
        "Seconds between two reads of the metagraph. Each read is also a chance to set weights.",
        gt=0,
    )
    wallet_name: str = setting("default", "Name of the wallet that holds the hotkey.", "WALLET_NAME")
    wallet_hotkey: str = setting("default", "Name of the hotkey inside the wallet.", "HOTKEY_NAME")
    wallet_path: Path = setting(
        Path("~/.bittensor/wallets"), "Folder that contains the wallets.", "WALLET_PATH"
    )
    hotkey_file: Annotated[Path, AfterValidator(at_home)] | None = setting(
        None,
        "File of the hotkey, wherever it is. Empty: the wallet's name, hotkey and folder say where.",
    )
    signed_epochs_file: Annotated[Path, AfterValidator(at_home)] | None = setting(
        None,
        "File that remembers the vector signed in each epoch. Never restore it from a backup. Empty: in the wallet's "
        "folder, or in the data folder where GAIA_HOTKEY_FILE is set.",
    )
    beacon_round: int | None = setting(
        None,
        "Round of the beacon for which weights are sealed. Only a node of this machine takes it. For rehearsals only.",
        gt=0,
    )
    dry_run: bool = setting(
        False,
        "Run everything except signing and submitting weights. Use it to try out a machine.",
    )

    @property
    def nodes(self) -> dict[str, str]:
        """Name of each node -> its address, in the order in which they are preferred."""
        return dict(zip(node_names(self.endpoints), self.endpoints, strict=True))

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Addresses of all nodes, each once, in the order in which they are preferred."""
        more = self.chain_more_endpoints
        if not more and self.chain_endpoint == FINNEY:
            more = list(_MORE_OF_FINNEY)
        return tuple(dict.fromkeys((self.chain_endpoint, *more)))

    @property
    def hotkey_path(self) -> Path:
        """Path of the hotkey's file, which may begin with ~."""
        return self.hotkey_file or self.wallet_path / self.wallet_name / "hotkeys" / self.wallet_hotkey

    def signed_epochs_path(self, data_dir: Path) -> Path:
        """Return the path of the file that remembers the vector signed in each epoch."""
        if self.signed_epochs_file is not None:
            return self.signed_epochs_file
        if self.hotkey_file is not None:
            return data_dir / f"signed-epochs-{self.netuid}.json"
        folder = self.wallet_path.expanduser() / self.wallet_name
        return folder / f"gaia-signed-epochs-{self.wallet_hotkey}-{self.netuid}.json"


def node_names(endpoints: Sequence[str]) -> list[str]:
    """Return a name for each endpoint, which holds no secret: its host and port, and a number where two are equal.

    >>> node_names(["wss://me:hush@one.example/key", "ws://two.example:9944", "wss://one.example"])
    ['one.example', 'two.example:9944', 'one.example#3']
    """
    names: list[str] = []
    for number, endpoint in enumerate(endpoints, start=1):
        address = urlsplit(endpoint)
        host = address.hostname or "unknown"
        name = host if address.port is None else f"{host}:{address.port}"
        names.append(f"{name}#{number}" if name in names else name)
    return names
