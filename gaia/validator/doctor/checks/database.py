"""Checks of the operator's PostgreSQL server: reachable, of a known version, and ours to write."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gaia.validator.doctor.findings import Check, Finding, Group, failure, ok, skipped, warning
from gaia.validator.doctor.sight import Trouble, seen
from gaia.validator.doctor.steps import Step, do, run
from gaia.validator.doctor.supervisors import is_supervisor

if TYPE_CHECKING:
    from gaia.validator.doctor.facts import Facts, Server, Session
    from gaia.validator.utils.settings.database import DatabaseSettings

_OLDEST, _NEWEST = 14, 18
_NO_DATABASE = re.compile(r'database "([^"]+)" does not exist')
_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*")


def _reachable(facts: Facts) -> Finding:
    settings = seen(facts.settings)
    if settings.database.is_embedded:
        return _embedded(facts)
    if not isinstance(facts.server, Trouble):
        return ok(f"the server lets role {facts.server.role} into database {facts.server.database}")
    words = facts.server.words
    if missing := _NO_DATABASE.search(words):
        url = settings.database.database_url.get_secret_value()
        owner = (urlsplit(url).username if url else settings.database_user) or "postgres"
        return failure(words, _creation(settings.database, missing[1], owner))
    name = "database_url" if settings.database.database_url.get_secret_value() else "database_host"
    if "password" in words and not settings.database.database_url.get_secret_value():
        return failure(words, facts.given.put("database_password", "", "the role's password"))
    steps = facts.given.unset(name) or (do("look into the server's log, and at the way to it"),)
    return failure(f"the database cannot be used: {words}", *steps)


def _embedded(facts: Facts) -> Finding:
    """Judge the embedded database, which must answer while a validator runs."""
    is_started = not isinstance(facts.folder, Trouble) and is_supervisor(facts.folder.holder)
    if not is_started or not isinstance(facts.server, Trouble):
        return skipped("the embedded database is used")
    return failure(
        f"a validator runs, but its database does not answer: {facts.server.words}",
        do("run `gaia runbook DatabaseFailures`, which looks for the cause"),
    )


def _version(facts: Facts) -> Finding:
    major = _server(facts).version // 10_000
    if not _OLDEST <= major <= _NEWEST:
        return warning(
            f"PostgreSQL {major} is not tested; {_OLDEST} to {_NEWEST} are", do("use a tested version")
        )
    return ok(f"PostgreSQL {major}")


def _encoding(facts: Facts) -> Finding:
    server = _server(facts)
    if server.encoding == "UTF8":
        return ok("the database stores UTF-8")
    return failure(f"database {server.database} stores {server.encoding}", *_other_database(facts, server))


def _rights(facts: Facts) -> Finding:
    server = _server(facts)
    if server.can_create:
        return ok(f"role {server.role} may make tables")
    return failure(
        f"role {server.role} may not make tables in database {server.database}",
        _sql(facts, f"GRANT CREATE, USAGE ON SCHEMA public TO {_quoted(server.role)}"),
    )


def _writable(facts: Facts) -> Finding:
    server = _server(facts)
    if server.is_standby:
        return failure("the server is a standby, which only reads", do("name the primary server"))
    if server.is_read_only:
        return failure(
            f"transactions of role {server.role} only read",
            _sql(facts, f"ALTER ROLE {_quoted(server.role)} RESET default_transaction_read_only"),
        )
    return ok("the database can be written")


def _statement_time(facts: Facts) -> Finding:
    server, settings = _server(facts), seen(facts.settings)
    if 0 < server.statement_timeout_ms < 1000 * settings.database_timeout_s:
        return warning(
            f"the server cancels statements after {server.statement_timeout_ms} ms,"
            f" and GAIA_DATABASE_TIMEOUT_S allows {settings.database_timeout_s:g} s",
            _sql(facts, f"ALTER ROLE {_quoted(server.role)} RESET statement_timeout"),
        )
    return ok("the server cancels no statement before we do")


def _durable(facts: Facts) -> Finding:
    server = _server(facts)
    lost = {name: given for name, given in server.durability.items() if given[0] == "off"}
    if not lost:
        return ok("a commit is on the disk")
    steps = [_durable_step(facts, server, name, source) for name, (_, source) in lost.items()]
    return warning(f"a commit may be lost when the server crashes: {', '.join(lost)} is off", *steps)


def _durable_step(facts: Facts, server: Server, name: str, source: str) -> Step:
    """Return the step after which a parameter is not off; it depends on where that was written."""
    role, database = _quoted(server.role), _quoted(server.database)
    scopes = {
        "user": f"ALTER ROLE {role}",
        "database": f"ALTER DATABASE {database}",
        "database user": f"ALTER ROLE {role} IN DATABASE {database}",
    }
    if source in scopes:
        return _sql(facts, f"{scopes[source]} RESET {name}")
    if source == "configuration file":
        return _sql(facts, f"ALTER SYSTEM SET {name} = on", "SELECT pg_reload_conf()")
    return do(f"start the server without {name}=off; its {source} sets it")


def _connections(facts: Facts) -> Finding:
    server, settings = _server(facts), seen(facts.settings)
    if server.role_limit >= settings.database_pool_size:
        return ok(f"{server.role_limit} connections are allowed, and {settings.database_pool_size} wanted")
    words = (
        f"role {server.role} may open {server.role_limit} connections,"
        f" and GAIA_DATABASE_POOL_SIZE is {settings.database_pool_size}"
    )
    return failure(words, facts.given.put("database_pool_size", max(2, server.role_limit)))


def _migrations(facts: Facts) -> Finding:
    server = _server(facts)
    match server.migrations:
        case "none":
            return ok("the validator will make its tables")
        case "current":
            return _unchanged(facts, server)
        case "behind":
            return ok("the validator will bring the tables up to date")
    return failure(server.migrations, *_other_database(facts, server))


def _unchanged(facts: Facts, server: Server) -> Finding:
    if not server.drift:
        return ok("the tables are those of this release")
    said = f"the schema was changed by hand: it {server.drift}"
    undo = do("undo what `gaia db verify` lists, or restore a backup")
    if server.drift.is_serious:
        return failure(said, undo, *_other_database(facts, server))
    return warning(said, undo)


def _alone(facts: Facts) -> Finding:
    server = _server(facts)
    folder = facts.folder
    is_ours = not isinstance(folder, Trouble) and is_supervisor(folder.holder)
    if is_ours and server.stands_by:
        return ok(f"this validator stands by, and {server.lease_holder} is active")
    if is_ours or not server.others:
        return ok("no other validator uses the database")
    if server.lease_holder is not None:
        return ok(f"another validator uses the database: {server.lease_holder} is active, and one stands by")
    other = server.others[0]
    where = other.address or "this machine"
    return failure(
        f"another validator uses database {server.database}, from {where} (backend {other.backend})",
        _stopping(other, where),
    )


def _stopping(other: Session, where: str) -> Step:
    """Return the step that stops another validator; only a proved Supervisor of ours is killed."""
    if other.supervisor_pid:
        return run("kill", other.supervisor_pid)
    if other.client_pid:
        name = other.client[:120] or "of another user"
        return do(f"stop the program at port {other.port} of {where} (process {other.client_pid}, {name})")
    return do(f"stop the validator on {where}")


def _server(facts: Facts) -> Server:
    return seen(facts.server)


def _program(database: DatabaseSettings, program: str, *words: str) -> Step:
    """Return a call of one of PostgreSQL's programs on the server that the settings name; no password in it."""
    host, port = database.database_host, database.database_port
    if url := database.database_url.get_secret_value():
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 5432
    place = ["-h", host] if host else []
    return run(program, *place, "-p", port, "-U", "postgres", *words)


def _creation(database: DatabaseSettings, name: str, owner: str) -> Step:
    """Return the step that makes an empty database for the role `owner`."""
    return _program(database, "createdb", "-E", "UTF8", "-T", "template0", "-O", owner, name)


def _sql(facts: Facts, *statements: str) -> Step:
    server = _server(facts)
    words = [word for statement in statements for word in ("-c", statement)]
    return _program(seen(facts.settings).database, "psql", "-d", server.database, *words)


def _other_database(facts: Facts, server: Server) -> tuple[Step, ...]:
    """Return the steps that make an empty database and use it."""
    settings = seen(facts.settings)
    name = f"{server.database}_new"
    make = _creation(settings.database, name, server.role)
    if settings.database.database_url.get_secret_value():
        return make, do(f"write {name} in place of {server.database} into GAIA_DATABASE_URL")
    return make, facts.given.put("database_name", name)


def _quoted(name: str) -> str:
    return name if _IDENTIFIER.fullmatch(name) else '"' + name.replace('"', '""') + '"'


_D = Group.DATABASE
CHECKS = (
    Check(
        "database",
        _D,
        "the server answers and lets us in",
        "`createdb`, the address, the password",
        _reachable,
    ),
    Check("database-version", _D, f"PostgreSQL {_OLDEST} to {_NEWEST}", "another version", _version),
    Check(
        "database-encoding", _D, "the database stores UTF-8", "`createdb`, `GAIA_DATABASE_NAME`", _encoding
    ),
    Check("database-rights", _D, "our role may make tables", "`GRANT`", _rights),
    Check("database-writable", _D, "the database can be written", "`ALTER ROLE`", _writable),
    Check("statement-time", _D, "the server cancels no statement early", "`ALTER ROLE`", _statement_time),
    Check("durable", _D, "a commit is on the disk", "`ALTER ROLE`, `ALTER SYSTEM`", _durable),
    Check("pool-size", _D, "connections, against the pool", "`GAIA_DATABASE_POOL_SIZE`", _connections),
    Check("migrations", _D, "the tables fit this release", "another database", _migrations),
    Check(
        "other-validator", _D, "no other validator uses a database without a lease", "it is stopped", _alone
    ),
)
