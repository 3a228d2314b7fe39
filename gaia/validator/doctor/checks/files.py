"""Checks of the data folder."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from gaia.tasks.defined_tasks.weather.volumes import expected_volumes
from gaia.validator.doctor.checks.owners import ROOT, owners_step
from gaia.validator.doctor.findings import Check, Finding, Group, failure, ok, skipped, warning
from gaia.validator.doctor.sight import seen
from gaia.validator.doctor.steps import Step, do, run
from gaia.validator.doctor.supervisors import is_supervisor

if TYPE_CHECKING:
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


def _is_validator(folder: Folder) -> bool:
    return is_supervisor(folder.holder)


def _major(path: str) -> str:
    """Return the version that a path such as /usr/lib/postgresql/15/bin tells; "" if it tells none."""
    parts = path.split("/")
    return parts[-2] if len(parts) > 1 and parts[-2].isdigit() else ""


_F = Group.FILES
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
)
