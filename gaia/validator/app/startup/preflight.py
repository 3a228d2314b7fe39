"""Checks before any process starts; each failure is one sentence and one exit code."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from gaia.validator.app.sandbox.confine import require_sandbox
from gaia.validator.app.startup.endpoint import open_endpoint
from gaia.validator.utils.errors import ConfigurationError, ExitCode
from gaia.validator.utils.logs.files import FOLDER_MODE

if TYPE_CHECKING:
    from gaia.validator.utils.ipc_types import SandboxMode
    from gaia.validator.utils.logs.files import LogFiles
    from gaia.validator.utils.settings.chain import ChainSettings
    from gaia.validator.utils.settings.files import FilesSettings
    from gaia.validator.utils.settings.observation import ObservationSettings

_REFUSALS = (errno.EROFS, errno.EACCES, errno.EPERM)
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_MIB = 1024 * 1024


def preflight(
    files: FilesSettings, chain: ChainSettings, sandbox: SandboxMode, observation: ObservationSettings
) -> int:
    """Check the machine, and lock the data folder.

    Returns
    -------
    int
        Descriptor of the lock, which holds until the descriptor is closed.

    Raises
    ------
    ConfigurationError
        For the first problem that the operator must correct.
    """
    lock = claim_data_dir(files.data_dir)
    try:
        require_space(files.data_dir, files.data_min_free_mib)
        require_hotkey_file(chain)
        require_sandbox(sandbox)
        require_free_port(observation.metrics_host, observation.metrics_port)
        require_log_folder(observation.log_files)
    except BaseException:
        os.close(lock)
        raise
    return lock


def claim_data_dir(data_dir: Path) -> int:
    """Create the folder if necessary, check that it is writable, and lock it against a second validator.

    Returns the descriptor of the lock.
    """
    descriptor = -1
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    except OSError as error:
        holder = _holder(descriptor)
        if descriptor >= 0:
            os.close(descriptor)
        raise folder_trouble(error, data_dir, holder) or _unusable(error, data_dir) from error
    return descriptor


def require_space(data_dir: Path, min_free_mib: int) -> None:
    """Raise if the folder has less free space than `min_free_mib`."""
    free_mib = shutil.disk_usage(data_dir).free // _MIB
    if free_mib < min_free_mib:
        raise ConfigurationError(
            "GAIA_DATA_DIR",
            f"{data_dir} has {free_mib} MiB free, but GAIA_DATA_MIN_FREE_MIB requires {min_free_mib}",
            "free some space or choose another folder",
            ExitCode.DATA_DIR_FULL,
        )


def require_hotkey_file(chain: ChainSettings) -> None:
    """Raise if there is no file of the hotkey; only the chain signer reads its content."""
    path = chain.hotkey_path
    try:
        path = path.expanduser()
        problem = "" if path.is_file() else f"there is no hotkey file {path}"
    except (OSError, RuntimeError) as error:
        problem = f"hotkey file {path} cannot be found ({getattr(error, 'strerror', error)})"
    if problem:
        is_named = chain.hotkey_file is not None
        raise ConfigurationError(
            "GAIA_HOTKEY_FILE" if is_named else "GAIA_WALLET_HOTKEY",
            problem,
            "create it, or name another"
            if is_named
            else "create it, or set GAIA_WALLET_NAME, GAIA_WALLET_HOTKEY and GAIA_WALLET_PATH",
            ExitCode.HOTKEY_MISSING,
        )


def require_free_port(host: str, port: int) -> None:
    """Raise if another program uses the metrics port; port 0 serves no metrics."""
    probe = open_endpoint(host, port)
    if probe is not None:
        probe.close()


def require_log_folder(files: LogFiles | None) -> None:
    """Make the folder of the log files, and raise if no file can be written there; None: there are none."""
    if files is None:
        return
    try:
        Path(files.folder).mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=files.folder):
            pass
    except OSError as error:
        raise ConfigurationError(
            "GAIA_LOG_DIR",
            f"no file can be written in {files.folder} ({error.strerror})",
            "correct its permissions or free some space, choose another folder, or unset it",
        ) from error


def _holder(descriptor: int) -> str:
    """Return the pid that the holder wrote to the lock file."""
    if descriptor < 0:
        return ""
    return os.pread(descriptor, 32, 0).decode(errors="replace").strip()


def folder_trouble(error: OSError, data_dir: Path, holder: str = "") -> ConfigurationError | None:
    """Return the reason why the data folder cannot be written; None if `error` has another cause."""
    match error.errno:
        case errno.EWOULDBLOCK:
            process = f"process {holder}" if holder else "another process"
            return ConfigurationError(
                "GAIA_DATA_DIR",
                f"{data_dir} is in use by {process}",
                "stop that validator or choose another folder",
                ExitCode.DATA_DIR_IN_USE,
            )
        case code if code in _NO_SPACE:
            return ConfigurationError(
                "GAIA_DATA_DIR",
                f"{data_dir} has no space left",
                "free some space or choose another folder",
                ExitCode.DATA_DIR_FULL,
            )
        case code if code in _REFUSALS:
            return ConfigurationError(
                "GAIA_DATA_DIR",
                f"{data_dir} cannot be written ({error.strerror})",
                "give this user write permission, or choose another folder",
                ExitCode.DATA_DIR_READ_ONLY,
            )
        case errno.ENOENT:
            # Missing parents are created too, so this file system accepts no folders at all.
            return ConfigurationError(
                "GAIA_DATA_DIR",
                f"{data_dir} cannot be created",
                "choose another folder, on a disk",
                ExitCode.DATA_DIR_READ_ONLY,
            )
    return None


def _unusable(error: OSError, data_dir: Path) -> ConfigurationError:
    return ConfigurationError(
        "GAIA_DATA_DIR", f"{data_dir} is not a usable folder ({error.strerror})", "choose another folder"
    )
