"""Settings of the notifier: messages to people, and the deadman switch."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import SecretStr, model_validator

from gaia.validator.utils.setting_sources import HandedSettings, broken_rule, setting


class NotifySettings(HandedSettings):
    """Settings for messages about troubles, for people without Prometheus."""

    heading: ClassVar[str] = "Messages"

    notify_urls: list[SecretStr] = setting(
        [],
        "Addresses of apprise that get a message when a trouble begins and ends, such as `ntfy://topic`."
        " Empty: none is sent.",
    )
    notify_least: Literal["degraded", "stuck"] = setting(
        "degraded",
        "Least health that is worth a message: `degraded` means any trouble, `stuck` those that stop the validator's income.",
    )
    notify_remind_hours: float = setting(
        6.0, "Hours after which a trouble that stays is told again.", gt=0, le=8760
    )
    notify_alive_url: SecretStr = setting(
        SecretStr(""),
        "Address that gets a GET while nothing is stuck. A service there raises the alarm when they stop. Empty: none.",
    )
    notify_alive_interval_s: float = setting(
        60.0,
        "Seconds between two requests to GAIA_NOTIFY_ALIVE_URL. They come at most once a minute.",
        ge=60,
        le=86_400,
    )
    notify_life: bool = setting(
        False, "Whether a message is sent when the validator starts and when it stops in order."
    )

    @model_validator(mode="after")
    def _agree_on_messages(self) -> Self:
        alive = self.notify_alive_url.get_secret_value()
        if alive and not alive.startswith(("http://", "https://")):
            # The value is a secret, so that the sentence does not repeat it.
            raise broken_rule(
                "notify_alive_url",
                "is no address on the web",
                "begin it with http:// or https://, or leave it empty",
            )
        if self.notify_life and not self.notify_urls:
            raise broken_rule("notify_life", "is set, and GAIA_NOTIFY_URLS is empty", "set both or neither")
        return self
