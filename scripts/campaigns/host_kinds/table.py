"""The hosts, and what each is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final


class Base(Enum):
    """Files of a host: this machine's, or those of a fresh release of Debian with python3, venv and git alone."""

    HERE = "here"
    BOOKWORM = "bookworm"
    TRIXIE = "trixie"
    SID = "sid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One kind of host."""

    name: str
    what: str
    base: Base = Base.HERE
    python: str = "python3"
    """Interpreter of this machine; a release of Debian has its own."""
    as_user: bool = False
    is_nameless: bool = False
    """Whether /etc/passwd lacks the user."""
    folder: str = "gaia"
    """Folder of the clone."""
    environment: Mapping[str, str | None] = field(default_factory=dict)
    """Changes to the environment; None removes a variable."""
    before: tuple[str, ...] = ()
    """Lines of shell in a mount namespace of their own, as root, before the command."""
    limits: tuple[str, ...] = ()
    """Lines of shell as the host's user, right before the command."""
    installs_first: bool = False
    """Whether .venv is made before the host loses its network."""
    without_network: bool = False
    without_namespaces: bool = False
    """Whether root may make no user namespace."""
    sentence: str = ""
    """What the last line must say where the project cannot run; "": it must run."""

    @property
    def needs_root(self) -> bool:
        """Whether only root can make such a host."""
        return bool(
            self.base is not Base.HERE
            or self.as_user
            or self.before
            or self.without_network
            or self.without_namespaces
        )


_SYSTEM: Final = "/usr/bin/python3"
"""An interpreter that another user may run."""
_DEAD_PROXY: Final = "http://127.0.0.1:9"
_DEAD: Final = {
    name: _DEAD_PROXY
    for scheme in ("http", "https", "all")
    for name in (f"{scheme}_proxy", f"{scheme.upper()}_PROXY")
}

HOSTS: Final = (
    Host(name="here", what="this machine, as it is"),
    Host(name="python_3_12", what="Python 3.12", python="python3.12"),
    Host(name="python_3_13", what="Python 3.13", python="python3.13"),
    Host(
        name="odd_place",
        what="a path with spaces and other letters, LANG=C, a zone at UTC+13, umask 077",
        folder="Ga ia é",
        environment={"LANG": "C", "LC_ALL": "C", "TZ": "Pacific/Apia"},
        limits=("umask 077",),
    ),
    Host(
        name="few_files",
        what="256 open files, no LANG, a zone at UTC+5:45",
        environment={"LANG": None, "LC_ALL": None, "TZ": "Asia/Kathmandu"},
        limits=("ulimit -n 256",),
    ),
    Host(
        name="nonsense_zone",
        what="a zone that does not exist, a locale that is not installed",
        environment={"TZ": "nonsense/zone", "LANG": "tlh_QO.UTF-8", "LC_ALL": "tlh_QO.UTF-8"},
    ),
    Host(name="user", what="an ordinary user", python=_SYSTEM, as_user=True),
    Host(
        name="nameless_user",
        what="a user that /etc/passwd does not name",
        python=_SYSTEM,
        as_user=True,
        is_nameless=True,
    ),
    Host(
        name="no_network",
        what="loopback only, and every proxy that the environment names is dead",
        environment=_DEAD,
        installs_first=True,
        without_network=True,
    ),
    Host(
        name="tiny_shm",
        what="64 KiB of /dev/shm, as in a container",
        before=("mount -t tmpfs -o size=64k tmpfs /dev/shm",),
    ),
    Host(name="bookworm_root", what="an empty Debian 12, as root", base=Base.BOOKWORM),
    Host(name="bookworm_user", what="an empty Debian 12, as a user", base=Base.BOOKWORM, as_user=True),
    Host(name="trixie_root", what="an empty Debian 13, as root", base=Base.TRIXIE),
    Host(name="trixie_user", what="an empty Debian 13, as a user", base=Base.TRIXIE, as_user=True),
    Host(name="sid_user", what="an empty Debian sid, as a user", base=Base.SID, as_user=True),
    Host(
        name="no_namespaces_user",
        what="no user namespaces, as a user",
        python=_SYSTEM,
        as_user=True,
        without_namespaces=True,
    ),
    Host(
        name="no_namespaces_root",
        what="no user namespaces, as root",
        without_namespaces=True,
        sentence="runs neither as root nor",
    ),
)
