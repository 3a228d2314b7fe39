"""Loads the hotkey; the coldkey is never read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gaia.validator.utils.errors import ConfigurationError, ExitCode

if TYPE_CHECKING:
    from bittensor import Wallet

    from gaia.validator.utils.settings.chain import ChainSettings


def load_wallet(chain: ChainSettings) -> Wallet:
    """Return the wallet with its hotkey loaded; the coldkey is never read.

    Raises
    ------
    ConfigurationError
        If there is no hotkey file, or it cannot be read without a password.
    """
    import bittensor as bt
    from bittensor_core import KeyfileError

    folder = chain.wallet_path.expanduser()
    # The SDK joins the hotkey's name to the wallet's folder; an absolute path stays as it is.
    hotkey = str(chain.hotkey_file.absolute()) if chain.hotkey_file else chain.wallet_hotkey
    wallet = bt.Wallet(name=chain.wallet_name, hotkey=hotkey, path=str(folder))
    where = hotkey if chain.hotkey_file else f"{chain.wallet_name}/hotkeys/{hotkey} in {folder}"
    if not wallet.hotkey_file.exists_on_device():
        raise _hotkey_missing(
            chain, f"there is no hotkey {where}", "create it with `btcli wallet new-hotkey`"
        )
    if not wallet.hotkey_file.is_readable():
        raise _hotkey_missing(
            chain, f"the hotkey {where} may not be read", "give the validator's user the right"
        )
    if wallet.hotkey_file.is_encrypted():
        raise _hotkey_missing(chain, f"the hotkey {where} is encrypted", "store it without a password")
    try:
        wallet.hotkey.sign(b"")  # a file may hold only the public key
    except (KeyfileError, ValueError, OSError) as error:
        raise _hotkey_missing(chain, f"the file of hotkey {where} is damaged", "restore it") from error
    return wallet


def _hotkey_missing(chain: ChainSettings, problem: str, remedy: str) -> ConfigurationError:
    if chain.hotkey_file is not None:
        return ConfigurationError(
            "GAIA_HOTKEY_FILE", problem, f"{remedy}, or name another file", ExitCode.HOTKEY_MISSING
        )
    remedy = f"{remedy}, or set GAIA_WALLET_NAME and GAIA_WALLET_PATH"
    return ConfigurationError("GAIA_WALLET_HOTKEY", problem, remedy, ExitCode.HOTKEY_MISSING)
