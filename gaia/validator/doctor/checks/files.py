"""Checks of the data folder and of the hotkey's file."""

from __future__ import annotations

import difflib
import stat
from typing import TYPE_CHECKING

from gaia.tasks.defined_tasks.weather.volumes import expected_volumes
from gaia.validator.doctor.checks.owners import ROOT, owners_step
from gaia.validator.doctor.findings import Check, Finding, Group, failure, ok, skipped, warning
from gaia.validator.doctor.sight import seen
from gaia.validator.doctor.steps import Step, do, run
from gaia.validator.doctor.supervisors import is_supervisor
from gaia.validator.utils.config import variable_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gaia.validator.doctor.facts import Facts, Folder

_VOLATILE = frozenset({"tmpfs", "ramfs"})
_REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "fuse.s3fs", "fuse.rclone"})
_FILES_AT_LEAST = 20_000
_MINERS, _DAYS = 256, 30
_PARTS_OF_SYSTEM_FOLDER = 2
"""Parts of a path such as /var or /home; a data folder lies deeper."""


def _writable(facts: Facts) -> Finding:
    folder = seen(facts.folder)
    if not folder.problem:
        return ok(f"{folder.path} {'can be written' if folder.exists else 'can be made'}")
    uid = seen(facts.places).uid
    own = folder.entry is not None and folder.entry.uid == uid and not folder.entry.mode & 0o200
    steps = (run("chmod", "u+rwx", folder.path),) if own else facts.given.unset("data_dir")
    return failure(
        f"{folder.path} cannot be {'written' if folder.exists else 'made'} ({folder.problem})",
        *(steps or (do("give this user the right to write there, or set GAIA_DATA_DIR"),)),
    )


def _folder_kind(facts: Facts) -> Finding:
    folder = seen(facts.folder)
    if folder.entry is not None and not folder.entry.is_folder:
        return failure(f"{folder.path} is a file", *facts.given.unset("data_dir"))
    if folder.blocking_file is not None:
        return failure(
            f"{folder.blocking_file} is a file, so {folder.path} cannot be made",
            *facts.given.unset("data_dir"),
        )
    return ok(f"{folder.path} {'is a folder' if folder.exists else 'will be made'}")


def _folder_mode(facts: Facts) -> Finding:
    folder = seen(facts.folder)
    if folder.entry is None or not folder.entry.is_folder:
        return skipped(f"{folder.path} is not made yet")
    if _is_shared(folder):
        return _of_its_own(folder)
    if folder.entry.mode & 0o077:
        return warning(
            f"other users can enter {folder.path} (mode {folder.entry.mode:04o})",
            run("chmod", "700", folder.path),
        )
    return ok(f"{folder.path} is private")


def _folder_owner(facts: Facts) -> Finding:
    folder = seen(facts.folder)
    if folder.entry is None:
        return skipped(f"{folder.path} is not made yet")
    uid, owner = seen(facts.places).uid, folder.entry.uid
    if _is_shared(folder):
        return _of_its_own(folder)
    if owner != uid and _is_validator(folder):
        return failure(
            f"{folder.path} belongs to user {owner}, and a validator runs on it",
            do(f"run this as user {owner}"),
        )
    if owner != uid and uid == ROOT:
        # What root makes in it is closed to its owner, who runs the validator.
        return failure(
            f"{folder.path} belongs to user {owner}, and this is root",
            do(f"start the validator, and this, as user {owner}"),
        )
    if owner != uid:
        return failure(f"{folder.path} belongs to user {owner}", *_given_to_us(facts, folder))
    if folder.foreign:
        return failure(
            f"{len(folder.foreign)} or more files in {folder.path} belong to other users,"
            f" such as {folder.foreign[0]}",
            *_given_to_us(facts, folder),
        )
    return ok(f"everything in the data folder belongs to this user{_as_far(folder)}")


def _given_to_us(facts: Facts, folder: Folder) -> tuple[Step, ...]:
    step = owners_step(facts, folder.entry.uid if folder.entry else ROOT, folder.path, is_deep=True)
    return () if step is None else (step,)


def _as_far(folder: Folder) -> str:
    """Return the words that limit a finding about all files, if not all were looked at."""
    return "" if folder.is_whole else f", as far as the first {folder.files} files tell"


def _is_shared(folder: Folder) -> bool:
    """Return whether the folder is one of the system or of all users, whose rights must stay as they are."""
    is_sticky = folder.entry is not None and bool(folder.entry.mode & stat.S_ISVTX)
    return is_sticky or len(folder.path.parts) <= _PARTS_OF_SYSTEM_FOLDER


def _of_its_own(folder: Folder) -> Finding:
    return failure(
        f"{folder.path} is a folder of the system or of all users",
        do("set GAIA_DATA_DIR to a folder that holds nothing else"),
    )


def _space(facts: Facts) -> Finding:
    folder, settings = seen(facts.folder), seen(facts.settings)
    least = settings.data_min_free_mib
    if folder.free_mib >= least:
        return ok(f"{folder.free_mib} MiB are free")
    words = f"{folder.free_mib} MiB are free in {folder.path}, and GAIA_DATA_MIN_FREE_MIB requires {least}"
    # The default is the least that a start needs, so only a higher demand may be lowered.
    if folder.free_mib >= type(settings)().data_min_free_mib:
        return failure(words, *facts.given.unset("data_min_free_mib"))
    return failure(words, do("free some space, or set GAIA_DATA_DIR to a folder on a larger disk"))


def _expected_disk(facts: Facts) -> Finding:
    folder, settings = seen(facts.folder), seen(facts.settings)
    expected = expected_volumes(settings.weather, _MINERS)
    growth = expected.database_bytes_a_day * _DAYS if settings.database.is_embedded else 0
    needed_mib = (expected.disk_bytes + growth) >> 20
    if needed_mib <= folder.free_mib + folder.used_mib:
        return ok(f"{needed_mib} MiB are expected to be used in {_DAYS} days, and fit{_as_far(folder)}")
    return warning(
        f"{needed_mib} MiB are expected to be used in {_DAYS} days with {_MINERS} miners,"
        f" and {folder.free_mib + folder.used_mib} MiB are there{_as_far(folder)}",
        *(
            facts.given.unset("keep_inputs_days")
            if settings.keep_inputs_days
            else (do("set GAIA_DATA_DIR to a folder on a larger disk; `gaia budget` tells what it is for"),)
        ),
    )


def _files_left(facts: Facts) -> Finding:
    folder = seen(facts.folder)
    if folder.free_files is None:
        return skipped("this file system has no limit of files")
    if folder.free_files < _FILES_AT_LEAST:
        return failure(
            f"the file system of {folder.path} has room for {folder.free_files} files only",
            do("delete small files, or set GAIA_DATA_DIR to another disk"),
        )
    return ok(f"{folder.free_files} files can be made")


def _file_system(facts: Facts) -> Finding:
    folder = seen(facts.folder)
    if folder.file_system in _VOLATILE:
        return failure(
            f"{folder.path} is in memory ({folder.file_system}), and a restart of the machine loses it",
            *(facts.given.unset("data_dir") or (do("set GAIA_DATA_DIR to a folder on a disk"),)),
        )
    if folder.file_system in _REMOTE:
        return warning(
            f"{folder.path} is on another machine ({folder.file_system}), which may lose locks",
            do("set GAIA_DATA_DIR to a folder on a local disk"),
        )
    return ok(f"{folder.path} is on {folder.file_system or 'an unknown file system'}")


def _free_folder(facts: Facts) -> Finding:
    folder = seen(facts.folder)
    if not folder.holder_pid:
        return ok("no process of this machine or container uses the data folder")
    if _is_validator(folder):
        return ok(f"a validator runs here, as process {folder.holder_pid}")
    lock = folder.path / "lock"
    if folder.holder_pid < 0:
        return failure(
            f"an unknown process holds the lock of {folder.path}",
            do(f"stop the program that `fuser -v {lock}` shows"),
        )
    # It is no validator, so only its owner knows what stopping it costs.
    name = folder.holder[:120] or "of another user"
    return failure(
        f"process {folder.holder_pid} holds the lock of {folder.path}: {name}",
        do(f"stop the program that holds {lock} (process {folder.holder_pid}, {name})"),
    )


def _drafts(facts: Facts) -> Finding:
    folder = seen(facts.folder)
    if not folder.old_drafts:
        return ok(f"no drafts of killed processes are left{_as_far(folder)}")
    return warning(
        f"{len(folder.old_drafts)} or more drafts are older than a day, such as {folder.old_drafts[0]}",
        run("find", folder.path, "-name", "*.part", "-mmin", "+1440", "-delete"),
    )


def _cluster(facts: Facts) -> Finding:
    if not seen(facts.settings).database.is_embedded:
        return skipped("the embedded database is not used")
    folder = seen(facts.folder)
    where = folder.path / "postgres" / "cluster"
    if folder.cluster == "partial":
        return failure(
            f"{where} is no database: it has no PG_VERSION", run("mv", where, f"{where}.without-version")
        )
    return ok("the embedded database exists" if folder.cluster else "the embedded database will be made")


def _cluster_version(facts: Facts) -> Finding:
    folder = seen(facts.folder)
    if not (seen(facts.settings).database.is_embedded and folder.cluster_version):
        return skipped("there is no embedded database")
    places = seen(facts.places)
    if places.programs is None:
        return skipped(places.programs_problem)
    major = _major(str(places.programs)) or "18"
    if folder.cluster_version != major:
        return failure(
            f"the embedded database is of PostgreSQL {folder.cluster_version}, and its programs of {major}",
            do(f"set PG_BINDIR to the programs of PostgreSQL {folder.cluster_version}, or dump and restore"),
        )
    return ok(f"the embedded database is of PostgreSQL {major}")


def _wallet_folder(facts: Facts) -> Finding:
    wallet, settings = seen(facts.wallet), seen(facts.settings)
    if settings.hotkey_file is not None:
        return skipped("the hotkey's file is named by itself, so no wallet is needed")
    if not wallet.has_root:
        steps = facts.given.unset("wallet_path")
        return failure(
            f"there is no folder {wallet.root}",
            *(steps or (do("copy the wallet there, or set GAIA_WALLET_PATH"),)),
        )
    if settings.wallet_name not in wallet.wallets:
        return failure(
            f"there is no wallet {settings.wallet_name} in {wallet.root}",
            *_nearest(facts, "wallet_name", settings.wallet_name, wallet.wallets),
        )
    return ok(f"wallet {settings.wallet_name} is in {wallet.root}")


def _hotkey_file(facts: Facts) -> Finding:
    wallet, settings = seen(facts.wallet), seen(facts.settings)
    is_named = settings.hotkey_file is not None
    if not is_named and settings.wallet_name not in wallet.wallets:
        return skipped("there is no wallet")
    if wallet.hotkey is None or wallet.hotkey.is_folder:
        if is_named:
            steps = (*facts.given.unset("hotkey_file"), do("or create that file"))
            return failure(f"there is no hotkey file {wallet.hotkey_path}", *steps)
        return failure(
            f"there is no hotkey file {wallet.hotkey_path}",
            *_nearest(facts, "wallet_hotkey", settings.wallet_hotkey, list(wallet.hotkeys)),
        )
    return ok(f"{wallet.hotkey_path} is there")


def _hotkey_mode(facts: Facts) -> Finding:
    wallet = seen(facts.wallet)
    if wallet.hotkey is None:
        return skipped("there is no hotkey file")
    # systemd names the user in an access list, whose mask stands in the place of the group's rights.
    if wallet.hotkey.mode & (0o007 if wallet.is_credential else 0o077):
        return failure(
            f"other users can read or change {wallet.hotkey_path} (mode {wallet.hotkey.mode:04o})",
            run("chmod", "600", wallet.hotkey_path),
        )
    return ok("the hotkey file is private")


def _hotkey_owner(facts: Facts) -> Finding:
    wallet = seen(facts.wallet)
    if wallet.hotkey is None:
        return skipped("there is no hotkey file")
    if wallet.is_credential and wallet.hotkey.uid == ROOT:
        return ok("the service manager keeps the hotkey file")
    step = owners_step(facts, wallet.hotkey.uid, wallet.hotkey_path)
    if step is None:
        return ok("the hotkey file belongs to the validator's user")
    return failure(f"{wallet.hotkey_path} belongs to user {wallet.hotkey.uid}", step)


def _hotkeys_folder(facts: Facts) -> Finding:
    folder = seen(facts.wallet).folder
    if folder is None:
        return skipped("there is no folder of hotkeys")
    if folder.mode & 0o022:
        return failure(
            f"other users can replace the files in {folder.path} (mode {folder.mode:04o})",
            run("chmod", "go-w", folder.path),
        )
    return ok("other users cannot replace the hotkey")


def _hotkey_content(facts: Facts) -> Finding:
    wallet = seen(facts.wallet)
    if wallet.hotkey is None:
        return skipped("there is no hotkey file")
    if wallet.problem:
        return failure(
            wallet.problem,
            do("restore it from your backup with `btcli wallet regen-hotkey`"),
        )
    return ok(f"hotkey {wallet.address} can sign")


def _coldkey(facts: Facts) -> Finding:
    found = seen(facts.wallet).coldkey
    if found is None:
        return ok("the coldkey's secret is not on this machine")
    return warning(
        f"{found} is on this machine, and who breaks in takes all funds",
        do("copy it to a machine without network, prove the copy, and delete it here"),
    )


def _is_validator(folder: Folder) -> bool:
    return is_supervisor(folder.holder)


def _nearest(facts: Facts, name: str, wanted: str, known: Sequence[str]) -> tuple[Step, ...]:
    """Return the step that names what was meant, or the one that makes what is missing."""
    if close := difflib.get_close_matches(wanted, known, n=1):
        return (facts.given.put(name, close[0]),)
    if known:
        # Another name may be that of a miner's key, which must not sign for a validator.
        return (do(f"name the validator's own in {variable_of(name)}; there are {', '.join(known[:10])}"),)
    settings, root = seen(facts.settings), seen(facts.wallet).root
    return (
        run(
            *("btcli", "wallet", "new-hotkey", "--wallet", settings.wallet_name),
            *("--wallet-hotkey", settings.wallet_hotkey, "--wallet-path", root),
        ),
    )


def _major(path: str) -> str:
    """Return the version that a path such as /usr/lib/postgresql/15/bin tells; "" if it tells none."""
    parts = path.split("/")
    return parts[-2] if len(parts) > 1 and parts[-2].isdigit() else ""


_F, _K = Group.FILES, Group.HOTKEY
CHECKS = (
    Check("data-folder", _F, "the data folder is a folder, or can be one", "`GAIA_DATA_DIR`", _folder_kind),
    Check("data-writable", _F, "the data folder can be written", "`chmod`, `GAIA_DATA_DIR`", _writable),
    Check("data-mode", _F, "only our user enters the data folder", "`chmod 700`", _folder_mode),
    Check("data-owner", _F, "everything in the data folder is ours", "`chown -R`", _folder_owner),
    Check("data-space", _F, "free space of the data folder", "`GAIA_DATA_MIN_FREE_MIB`", _space),
    Check(
        "data-growth",
        _F,
        "expected use of the disk, against what is free",
        "`GAIA_KEEP_INPUTS_DAYS`",
        _expected_disk,
    ),
    Check("data-files", _F, "the disk has room for more files", "another disk", _files_left),
    Check("data-file-system", _F, "the data folder is on a local disk", "`GAIA_DATA_DIR`", _file_system),
    Check("data-lock", _F, "no other program uses the data folder", "it is stopped", _free_folder),
    Check("drafts", _F, "no drafts of killed processes are left", "`find -delete`", _drafts),
    Check("cluster", _F, "the embedded database is whole", "moved away", _cluster),
    Check("cluster-version", _F, "database and programs have one version", "`PG_BINDIR`", _cluster_version),
    Check("wallet", _K, "the wallet's folder", "`GAIA_WALLET_NAME`, `GAIA_WALLET_PATH`", _wallet_folder),
    Check("hotkey-file", _K, "the hotkey's file is there", "`GAIA_WALLET_HOTKEY`", _hotkey_file),
    Check("hotkey-mode", _K, "only our user reads the hotkey's file", "`chmod 600`", _hotkey_mode),
    Check("hotkey-owner", _K, "the hotkey's file is ours", "`chown`", _hotkey_owner),
    Check("hotkeys-folder", _K, "only our user writes beside the hotkey", "`chmod go-w`", _hotkeys_folder),
    Check("hotkey-content", _K, "the hotkey can sign without a password", "restored", _hotkey_content),
    Check("coldkey", _K, "the coldkey's secret is not on this machine", "moved away", _coldkey),
)
