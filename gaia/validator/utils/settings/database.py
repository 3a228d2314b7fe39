"""Settings of the database: the operator's server, or the embedded one."""

from __future__ import annotations

from typing import ClassVar, Self
from urllib.parse import quote

from pydantic import SecretStr, model_validator

from gaia.validator.utils.setting_sources import HandedSettings, broken_rule, setting


class DatabaseSettings(HandedSettings):
    """Settings for connecting to PostgreSQL."""

    heading: ClassVar[str] = "Database"

    database_url: SecretStr = setting(
        SecretStr(""),
        "Address of the PostgreSQL database. If empty, GAIA_DATABASE_HOST decides.",
    )
    database_host: str = setting(
        "",
        "Host of the PostgreSQL server. If it and GAIA_DATABASE_URL are empty, the embedded server is used.",
        "DB_HOST",
    )
    database_port: int = setting(5432, "Port of the server on GAIA_DATABASE_HOST.", "DB_PORT", ge=1, le=65535)
    database_name: str = setting("validator_db", "Name of the database on GAIA_DATABASE_HOST.", "DB_NAME")
    database_user: str = setting("postgres", "Role to log in with on GAIA_DATABASE_HOST.", "DB_USER")
    database_password: SecretStr = setting(
        SecretStr(""), "Password of GAIA_DATABASE_USER. Empty: log in without a password.", "DB_PASSWORD"
    )
    database_timeout_s: float = setting(
        20.0,
        "Seconds to wait for a connection or for one statement. Raise it for a slow disk.",
        gt=0,
    )
    database_pool_size: int = setting(
        8,
        "Maximum number of connections that the validator opens to the database.",
        ge=2,
        le=64,
    )
    lease_s: float = setting(
        15.0,
        "Seconds without a sign of life after which a standby takes over. Shorter ones need a faster database.",
        ge=5,
        le=300,
    )

    @property
    def is_embedded(self) -> bool:
        """Whether the validator runs the embedded server, because no other is named."""
        return not (self.database_url.get_secret_value() or self.database_host)

    def dsn(self, embedded: str) -> str:
        """Return the address of the database: the given URL, the parts, or `embedded`."""
        if url := self.database_url.get_secret_value():
            return url
        if self.database_host:
            password = quote(self.database_password.get_secret_value(), safe="")
            return (
                f"postgresql://{quote(self.database_user, safe='')}:{password}"
                f"@{self.database_host}:{self.database_port}/{self.database_name}"
            )
        return embedded

    @model_validator(mode="after")
    def _require_postgresql(self) -> Self:
        url = self.database_url.get_secret_value()
        if url and not url.startswith(("postgresql://", "postgres://")):
            raise broken_rule(
                "database_url", "is not a PostgreSQL URL", "write postgresql://user:password@host:port/name"
            )
        return self
