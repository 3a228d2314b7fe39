"""Loads the hotkey; the coldkey is never read."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gaia.validator.utils.errors import ConfigurationError, ExitCode
from gaia.validator.utils.secrecy import hold
from gaia.validator.utils.setting_sources import credentials_folder

if TYPE_CHECKING:
    from bittensor import Wallet
    from bittensor.keyfiles import Keyfile

    from gaia.validator.utils.settings.chain import ChainSettings

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def load_private_wallet(chain: ChainSettings) -> Wallet:
    """Return the wallet, as `load_wallet` does, if nobody else can use its hotkey.

    Raises
    ------
    ConfigurationError
        Also if others may read or replace the hotkey's file.
    """
    wallet = load_wallet(chain)
    exposed = exposure_of(Path(wallet.hotkey_file.path))
    if exposed is not None:
        setting = "GAIA_WALLET_HOTKEY" if chain.hotkey_file is None else "GAIA_HOTKEY_FILE"
        raise ConfigurationError(setting, *exposed, ExitCode.HOTKEY_MISSING)
    return wallet


def load_wallet(chain: ChainSettings) -> Wallet:
    """Return the wallet with its hotkey loaded; the coldkey is never read.

    The password of an encrypted hotkey is taken from the SDK's own variable, ``BT_PW_`` and the path.

    Raises
    ------
    ConfigurationError
        If there is no hotkey file, or it cannot be opened.
    """
    import bittensor as bt
    from bittensor_core import KeyfileError, WrongPasswordError

    folder = chain.wallet_path.expanduser()
    # The SDK joins the hotkey's name to the wallet's folder; an absolute path stays as it is.
    hotkey = str(chain.hotkey_file.absolute()) if chain.hotkey_file else chain.wallet_hotkey
    wallet = bt.Wallet(name=chain.wallet_name, hotkey=hotkey, path=str(folder))
    where = hotkey if chain.hotkey_file else f"{chain.wallet_name}/hotkeys/{hotkey} in {folder}"
    file = wallet.hotkey_file
    if not file.exists_on_device():
        raise _hotkey_missing(
            chain, f"there is no hotkey {where}", "create it with `btcli wallet new-hotkey`"
        )
    if not file.is_readable():
        raise _hotkey_missing(
            chain, f"the hotkey {where} may not be read", "give the validator's user the right"
        )
    try:
        if file.is_encrypted() and not _take_password(file):
            problem = f"the hotkey {where} is encrypted"
            raise _hotkey_missing(
                chain, problem, f"store it without a password, or set {file.env_var_name()}"
            )
        wallet.hotkey.sign(b"")  # a file may hold only the public key
    except WrongPasswordError as error:
        problem = f"the password in {file.env_var_name()} does not open the hotkey {where}"
        raise _hotkey_missing(chain, problem, "store it with `Keyfile.save_password_to_env`") from error
    except (KeyfileError, ValueError, OSError) as error:
        raise _hotkey_missing(chain, f"the file of hotkey {where} is damaged", "restore it") from error
    return wallet


def exposure_of(path: Path) -> tuple[str, str] | None:
    """Return (problem, remedy) if others may read the key at `path` or replace it; None: they may not."""
    # systemd names the user in an access list, whose mask stands in the place of the group's rights.
    is_credential = path.parent == credentials_folder()
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & (stat.S_IRWXO if is_credential else _OTHERS):
        return f"other users can read or change {path} (mode {mode:04o})", f"run `chmod 600 {path}`"
    folder = stat.S_IMODE(path.parent.stat().st_mode)
    if folder & stat.S_IWOTH and not folder & stat.S_ISVTX:
        problem = f"every user can replace the files in {path.parent} (mode {folder:04o})"
        return problem, f"run `chmod go-w {path.parent}`"
    return None


def _take_password(file: Keyfile) -> bool:
    """Return whether the SDK's variable holds a password, which no log shows from now on."""
    from bittensor_core import get_password_from_environment

    password = get_password_from_environment(file.env_var_name())
    if password:
        hold([password])
    return bool(password)


def _hotkey_missing(chain: ChainSettings, problem: str, remedy: str) -> ConfigurationError:
    if chain.hotkey_file is not None:
        return ConfigurationError(
            "GAIA_HOTKEY_FILE", problem, f"{remedy}, or name another file", ExitCode.HOTKEY_MISSING
        )
    remedy = f"{remedy}, or set GAIA_WALLET_NAME and GAIA_WALLET_PATH"
    return ConfigurationError("GAIA_WALLET_HOTKEY", problem, remedy, ExitCode.HOTKEY_MISSING)
