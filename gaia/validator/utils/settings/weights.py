"""Settings of the weights: which rules score, which runs count, and what is burned."""

from __future__ import annotations

from typing import ClassVar, Literal

from gaia.validator.utils.setting_sources import HandedSettings, setting


class WeightsSettings(HandedSettings):
    """Settings for scoring forecasts and computing weights."""

    heading: ClassVar[str] = "Weights"

    weights_interval_blocks: int = setting(
        250,
        "Minimum number of blocks between two weight submissions. The chain's own rate limit wins if it is higher.",
        ge=1,
    )
    weights_window_days: float = setting(
        15.0,
        "Age limit, in days, of the runs that count towards weights. Older runs are ignored.",
        gt=0,
    )
    weights_max_score_age_hours: float = setting(
        144.0,
        "Largest age, in hours, of the newest score. If it is older, the last weight vector is kept.",
        gt=0,
        le=8760,
    )
    weights_min_coverage: float = setting(
        0.8,
        "Fraction of the scores of delivered forecasts that must be there before weights are set. 0: any.",
        ge=0,
        le=1,
    )
    weights_max_drift: float = setting(
        0.5,
        "Largest fraction of the miners' weight that may change hands from one vector to the next. 1: all of it.",
        ge=0,
        le=1,
    )
    weights_min_spread: float = setting(
        0.25,
        "Least effective number of paid miners, as a fraction of the last vector's. 0: any.",
        ge=0,
        le=1,
    )
    weights_hold_hours: float = setting(
        6.0,
        "Hours for which low coverage, much drift or little spread hold weights. Then the new vector is set.",
        ge=0,
        le=8760,
    )
    weights_max_trust_loss: float = setting(
        0.1,
        "Largest part of our validator trust that a new vector may cost without a warning. It is set anyway. 1: any.",
        ge=0,
        le=1,
    )
    burn_enabled: bool = setting(
        True,
        "Give part of the weight to the burn hotkey. If false, miners receive all of it.",
        "BURN_MINER_EMISSION",
    )
    burn_fraction: float = setting(
        0.75,
        "Fraction of the weight that goes to the burn hotkey, from 0 (none) to 1 (all).",
        "BURN_RATE",
        ge=0,
        le=1,
    )
    burn_hotkey: str = setting(
        "",
        "ss58 address of the burn hotkey. If empty, it is the subnet owner's hotkey, read from the chain.",
        "BURN_HOTKEY",
    )
    contrast_gamma: float = setting(
        1.3,
        "Exponent that spreads weights which are nearly equal. A higher value favours the best miners more.",
        "WEIGHT_CONTRAST_GAMMA",
        gt=0,
    )
    rule_set: Literal["gaia-2.9", "gaia-next"] = setting(
        "gaia-2.9",
        "Rules that turn forecasts into scores and weights. All validators of the subnet should use the same.",
    )
    shadow_rule_set: Literal["", "gaia-2.9", "gaia-next"] = setting(
        "",
        "Second set of rules that scores the same runs for comparison. It never affects weights. Empty: none.",
    )
    shadow_share: float = setting(
        1.0,
        "Fraction of the runs that the shadow rules score, from 0 (none) to 1 (all). Lower it to save CPU time.",
        ge=0,
        le=1,
    )
