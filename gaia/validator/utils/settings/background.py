"""Settings of the background tasks: updates, Earthdata, history, memory and connections."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import SecretStr, model_validator

from gaia.validator.utils.setting_sources import HandedSettings, broken_rule, setting


class BackgroundSettings(HandedSettings):
    """Settings for tasks that run beside the scoring."""

    heading: ClassVar[str] = "Background tasks"

    update_url: str = setting(
        "",
        "Address that names the newest release, as a version or as JSON of GitHub or PyPI. Empty: never asked.",
    )
    earthdata_url: str = setting(
        "https://urs.earthdata.nasa.gov",
        "Address of NASA's Earthdata Login, which issues tokens.",
        pattern=r"^https?://",
    )
    earthdata_username: str = setting(
        "",
        "User of NASA's Earthdata Login. Empty: no token is managed.",
        "EARTHDATA_USERNAME",
    )
    earthdata_password: SecretStr = setting(
        SecretStr(""), "Password of GAIA_EARTHDATA_USERNAME.", "EARTHDATA_PASSWORD"
    )
    history_days: float = setting(
        7.0,
        "Days to keep snapshots of the database's activity and of the memory.",
        ge=0.01,
        le=366,
    )
    plots_kept: int = setting(
        12,
        "Number of pictures of the database's history to keep. One is drawn every 20 minutes.",
        ge=1,
        le=1000,
    )
    engine_memory_mib: int = setting(
        1024,
        "MiB of resident memory above which the IO-Engine frees what it does not need.",
        ge=64,
    )
    memory_reserve_mib: int = setting(
        512,
        "MiB of the machine's memory that must stay available. With less, idle workers that hold much are replaced.",
        ge=0,
    )
    chain_connection_hours: float = setting(
        6.0,
        "Hours after which the signer replaces its connection to the chain, and frees the memory of the old one.",
        gt=0,
    )

    @model_validator(mode="after")
    def _agree_on_addresses(self) -> Self:
        if self.update_url and not self.update_url.startswith(("http://", "https://")):
            raise broken_rule(
                "update_url",
                "is no address on the web",
                "begin it with http:// or https://, or leave it empty",
            )
        if self.earthdata_username and not self.earthdata_password.get_secret_value():
            raise broken_rule(
                "earthdata_password",
                "is empty, and GAIA_EARTHDATA_USERNAME is set",
                "set both or neither",
            )
        return self
