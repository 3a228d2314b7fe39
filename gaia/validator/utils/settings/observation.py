"""Settings of the observation: metrics and logs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator

from gaia.validator.utils.logs.files import LogFiles
from gaia.validator.utils.setting_sources import HandedSettings, at_home, setting


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
    metrics_names: list[str] = setting(
        [],
        "Names by which other machines call the metrics, such as `gaia.example.org`. Addresses need none."
        " A request for any other name is refused, because a web page may have sent it.",
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
    log_dir: Annotated[Path, AfterValidator(at_home)] | None = setting(
        None,
        "Folder for log files. Each process writes one per logger. Empty: lines go to standard error alone.",
    )
    log_file_mib: int = setting(
        16,
        "Maximum size of one log file, in MiB. Then it is renamed and a new one begins.",
        ge=1,
        le=512,
    )
    log_files_kept: int = setting(
        5, "Number of renamed log files that are kept of each. Older ones are deleted.", ge=1, le=100
    )

    @property
    def served_names(self) -> tuple[str, ...]:
        """Names by which clients may call the metrics, beside loopback names and the address."""
        return (self.metrics_host, *self.metrics_names)

    @property
    def log_files(self) -> LogFiles | None:
        """Place and size of the log files; None: there are none."""
        if self.log_dir is None:
            return None
        return LogFiles(
            folder=str(self.log_dir.resolve()), file_mib=self.log_file_mib, kept=self.log_files_kept
        )
