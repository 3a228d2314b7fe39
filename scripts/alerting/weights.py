"""Alerts about weights and the chain."""

from __future__ import annotations

from alerting.rule import Alert, Case, Group, Severity, series

_SET_AT = "gaia_weights_last_set_timestamp_seconds"
_INCIDENT = "gaia_incident_open"
_DOUBT = "gaia_weights_vectors_in_doubt"
_CHAIN = "gaia_substrate_connection_status"
_SUBMISSIONS = "gaia_weights_submissions_total"
_REFUSALS = "gaia_weights_refusals_total"
_COMMITS = "gaia_weights_commits_total"
_TRUST = "gaia_weights_trust"

GROUP = Group(
    name="weights",
    alerts=(
        Alert(
            name="WeightsStale",
            expr=f"time() - {_SET_AT} > seconds(3h) and {_SET_AT} > 0",
            wait="5m",
            severity=Severity.CRITICAL,
            page=True,
            why=(
                "GAIA_WEIGHTS_INTERVAL_BLOCKS (250) are 50 minutes: three intervals failed. The chain ignores a"
                " validator after about 5000 blocks, 16 hours, so there is time to act. 0 means never: a new"
                " validator has no score yet."
            ),
            summary="The weights of {{ $labels.instance }} are old.",
            description="Weights were last set {{ $value | humanizeDuration }} ago, above 3 hours.",
            fires=Case(
                given=[series(_SET_AT, "60x300")],
                at="190m",
                says="Weights were last set 3h 9m 0s ago, above 3 hours.",
            ),
            silent=Case(given=[series(_SET_AT, "600x300")], at="190m"),
        ),
        Alert(
            name="WeightsHeld",
            expr=f'{_INCIDENT}{{party="gates"}} == 1',
            wait="1h",
            severity=Severity.WARNING,
            why=(
                "The scores of a new run hold weights for minutes. No page: the last vector stays and is set again in"
                " time, and doubts about a change end after GAIA_WEIGHTS_HOLD_HOURS (6)."
            ),
            summary="A gate of {{ $labels.instance }} holds new weights.",
            description="The incident of the gates has been {{ $value }} for an hour, and the last vector stays.",
            fires=Case(
                given=[series(_INCIDENT, "0x5 1x90", party="gates")],
                at="80m",
                says="The incident of the gates has been 1 for an hour, and the last vector stays.",
                labels={"party": "gates"},
            ),
            silent=Case(
                given=[
                    series(_INCIDENT, "1x30 0 1x50", party="gates"),
                    series(_INCIDENT, "1x90", party="weights"),
                ],
                at="80m",
            ),
        ),
        Alert(
            name="VectorInDoubt",
            expr=f"{_DOUBT} > 0",
            wait="30m",
            severity=Severity.WARNING,
            why="A vector is in doubt for seconds whenever weights are set. Only one that stays needs hands.",
            summary="{{ $labels.instance }} does not know whether weights landed.",
            description="{{ $value }} weight vectors have been in doubt for 30 minutes.",
            fires=Case(
                given=[series(_DOUBT, "1x60")],
                at="40m",
                says="1 weight vectors have been in doubt for 30 minutes.",
            ),
            silent=Case(given=[series(_DOUBT, "1x20 0 1x40")], at="40m"),
        ),
        Alert(
            name="WeightsRefused",
            expr=(
                f'increase({_REFUSALS}{{cause=~"ours|theirs"}}[15m]) > 0'
                f' or increase({_REFUSALS}{{cause=~"network|race"}}[15m]) > 5'
            ),
            wait="20m",
            severity=Severity.CRITICAL,
            why=(
                "A refusal that ends by itself does so within minutes. Stake, a permit, a rule of the owner and a new"
                " runtime need hands. Races and full pools are tried again every two blocks. No page: WeightsStale"
                " says when that costs something."
            ),
            summary="The chain refuses the weights of {{ $labels.instance }}.",
            description='It refused, or would have refused, {{ $value | printf "%.0f" }} attempts in 15 minutes.',
            fires=Case(
                given=[series(_REFUSALS, "0x10 1+1x60", cause="ours")],
                at="50m",
                says="It refused, or would have refused, 15 attempts in 15 minutes.",
                labels={"cause": "ours"},
            ),
            silent=Case(
                given=[
                    series(_REFUSALS, "0x10 1x60", cause="theirs"),
                    series(_REFUSALS, "0+0.3x70", cause="race"),
                ],
                at="50m",
            ),
        ),
        Alert(
            name="SignerRefuses",
            expr=f'increase({_SUBMISSIONS}{{outcome="refused"}}[1h]) > 0',
            severity=Severity.CRITICAL,
            page=True,
            why=(
                "A sound validator never wants what the signer refuses, which is a second vector of an epoch, or a"
                " first one where the chain has ours already. A second validator with this hotkey looks so. The counter"
                " is the engine's: a stranger at the signer's socket shows as log lines `signature_refused`."
            ),
            summary="The signer of {{ $labels.instance }} refuses to sign weights.",
            description='It refused {{ $value | printf "%.0f" }} vectors in an hour.',
            fires=Case(
                given=[series(_SUBMISSIONS, "0x10 1x60", outcome="refused")],
                at="20m",
                says="It refused 1 vectors in an hour.",
                labels={"outcome": "refused"},
            ),
            silent=Case(
                given=[
                    series(_SUBMISSIONS, "0x70", outcome="refused"),
                    series(_SUBMISSIONS, "0+1x70", outcome="failed"),
                ],
                at="60m",
            ),
        ),
        Alert(
            name="CommitLost",
            expr=f'increase({_COMMITS}{{outcome="lost"}}[3h]) > 0',
            severity=Severity.WARNING,
            why=(
                "No page: the vector before it stays, and the next epoch has its own. WeightsStale says when that"
                " costs something."
            ),
            summary="The chain did not reveal sealed weights of {{ $labels.instance }}.",
            description='{{ $value | printf "%.0f" }} commits were lost in three hours.',
            fires=Case(
                given=[series(_COMMITS, "0x10 1x60", outcome="lost")],
                at="20m",
                says="1 commits were lost in three hours.",
                labels={"outcome": "lost"},
            ),
            silent=Case(
                given=[
                    series(_COMMITS, "0x70", outcome="lost"),
                    series(_COMMITS, "0+1x70", outcome="revealed"),
                ],
                at="60m",
            ),
        ),
        Alert(
            name="TrustFalls",
            expr=(
                f'quantile_over_time(0.5, {_TRUST}{{epoch="last"}}[1d])'
                f' - ignoring(epoch) {_TRUST}{{epoch="next"}} > {_TRUST}_loss_limit'
            ),
            wait="10m",
            severity=Severity.WARNING,
            why=(
                "A vote of others moves vtrust by hundredths. More than GAIA_WEIGHTS_MAX_TRUST_LOSS, usually a tenth, is another set of rules, another burn, or a fault."
                " No page: the chain pays less for these weights, and the next ones may be nearer to the consensus."
            ),
            summary="The weights of {{ $labels.instance }} lose validator trust.",
            description='vtrust is {{ $value | printf "%.2f" }} lower with the newest vector than usual in the last day.',
            fires=Case(
                given=[
                    series(_TRUST, "0.95x60", epoch="last"),
                    series(_TRUST, "0.95x10 0.7x50", epoch="next"),
                    series(f"{_TRUST}_loss_limit", "0.1x60"),
                ],
                at="30m",
                says="vtrust is 0.25 lower with the newest vector than usual in the last day.",
            ),
            silent=Case(
                given=[
                    series(_TRUST, "0.95x60", epoch="last"),
                    series(_TRUST, "0.9x10 0.7x5 0.8x50", epoch="next"),
                    series(f"{_TRUST}_loss_limit", "0.2x60"),
                ],
                at="30m",
            ),
        ),
        Alert(
            name="SubstrateConnectionLost",
            expr=f"{_CHAIN} == 0",
            wait="2m",
            severity=Severity.CRITICAL,
            why="No page: the chain is often away for minutes, and WeightsStale says when that costs something.",
            summary="{{ $labels.instance }} cannot read the chain.",
            description="The connection status has been {{ $value }} for 2 minutes.",
            fires=Case(
                given=[series(_CHAIN, "1x3 0x20")],
                at="8m",
                says="The connection status has been 0 for 2 minutes.",
            ),
            silent=Case(given=[series(_CHAIN, "1x3 0 1x20")], at="8m"),
        ),
    ),
)
