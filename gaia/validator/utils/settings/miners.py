"""Settings of the traffic with miners: requests and limits of downloads."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from gaia.validator.utils.setting_sources import HandedSettings, broken_rule, setting


class MinersSettings(HandedSettings):
    """Settings for sending requests to miners, and for their times."""

    heading: ClassVar[str] = "Miners"

    miner_scheme: Literal["https", "http"] = setting(
        "https",
        "Protocol for requests to miners. Their certificates are self-signed. Use http only for rehearsals.",
    )
    miner_timeout_s: float = setting(
        30.0, "Seconds that one request to a miner may take.", "HTTP_TIMEOUT_SECONDS", gt=0
    )
    miner_session_hours: float = setting(
        2.0,
        "Hours for which the encryption key shared with a miner is used. Then a new one is exchanged.",
        gt=0,
    )
    miner_poll_minutes: float = setting(
        5.0,
        "Minutes between two requests that ask a miner whether its forecast is ready.",
        gt=0,
    )
    miner_query_retry_minutes: list[float] = setting(
        [1.0, 5.0, 15.0],
        "Minutes to wait before each further request to an unreachable miner, one number per retry.",
    )
    freeze_window_hours: float = setting(
        2.0,
        "Hours after the request within which a miner's manifest must be ready. Later ones are rejected.",
        "WEATHER_MANIFEST_FREEZE_WINDOW_HOURS",
        gt=0,
    )
    manifest_max_mib: int = setting(
        1,
        "Maximum size of a manifest, in MiB. Values above 1 have the same effect as 1.",
        ge=1,
        le=64,
    )
    chunk_max_mib: int = setting(
        8,
        "Maximum size of one chunk, in MiB. A chunk is never accepted above the size of one uncompressed field.",
        ge=1,
        le=64,
    )
    miner_budget_mib: int = setting(
        4096,
        "Maximum amount of data, in MiB, that is downloaded from one miner for one run.",
        ge=1,
    )
    miner_min_rate_kib_s: int = setting(
        64,
        "Minimum speed of a download, in KiB per second. A slower one is cancelled.",
        ge=1,
    )
    miner_concurrency: int = setting(
        2,
        "Maximum number of simultaneous downloads from one miner.",
        ge=1,
        le=16,
    )
    fetch_concurrency: int = setting(
        32,
        "Maximum number of simultaneous downloads from all miners. Lower it on a slow connection.",
        "HTTP_MAX_CONNECTIONS",
        ge=1,
        le=512,
    )
    question_concurrency: int = setting(
        64,
        "Maximum number of simultaneous requests to all miners. Downloads are not counted.",
        ge=1,
        le=512,
    )
    allow_private_miners: bool = setting(
        False,
        "Accept miners at loopback and private addresses. For rehearsals only.",
    )
    only_uid: int | None = setting(
        None,
        "Number (uid) of the only miner to ask. Empty: ask all miners.",
        "WEATHER_TEST_ONLY_UID",
        ge=0,
    )

    @model_validator(mode="after")
    def _require_delays(self) -> Self:
        if min(self.miner_query_retry_minutes, default=1.0) <= 0:
            raise broken_rule(
                "miner_query_retry_minutes", "contains a delay that is not above 0", "use minutes above 0"
            )
        return self
