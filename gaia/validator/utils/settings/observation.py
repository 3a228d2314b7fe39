"""Settings of the observation: metrics and logs."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator

from gaia.validator.utils.setting_sources import HandedSettings, setting


class ObservationSettings(HandedSettings):
    """Settings for serving metrics and writing logs."""

    heading: ClassVar[str] = "Observation"

    metrics_host: str = setting(
        "127.0.0.1",
        "Address on which Prometheus metrics are served. The default is visible on this machine only.",
    )
    metrics_port: int = setting(
        9090, "Port on which Prometheus metrics are served. 0 serves none.", ge=0, le=65535
    )
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(str.upper)] = setting(
        "INFO",
        "Lowest level that is logged. Use DEBUG to look for the cause of a problem.",
        "LOGGING_LEVEL",
        "LOG_LEVEL",
    )
    log_format: Literal["json", "console"] = setting(
        "json",
        "Form of log lines: `json` for programs, `console` for people.",
    )
