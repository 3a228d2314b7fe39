"""Whatever children do: two never hold what is for one, and a worker leaves only when another is ready."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gaia.validator.app.supervision import Child, Death, Kill, Limits, Role, Start, Stop, plan, remember

LIMITS = Limits(
    soft_mib=100,
    hard_mib=200,
    drain_timeout_s=10,
    recycle_grace_s=30,
    age_s=500,
    silence_s={Role.ENGINE: 20, Role.SIGNER: 40},
    ready_within_s={Role.SIGNER: 15, Role.DATABASE: 60, Role.ENGINE: 15, Role.WORKER: 5},
    crash_limit=10**6,
    backoff_limit_s=5,
)
MOST_WORKERS = 3
SINGLE = (Role.SIGNER, Role.DATABASE, Role.ENGINE)


class AnyFamily(RuleBasedStateMachine):
    """A world in which children are born, age, grow, hang and die; the plan is carried out to the letter."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.pids = 0
        self.wanted: dict[Role, int] = {Role.SIGNER: 1, Role.DATABASE: 1, Role.ENGINE: 1, Role.WORKER: 2}
        self.children: dict[int, Child] = {}
        self.deaths: list[Death] = []
        self.remembered: list[Death] = []
        self.carry_out_plan()

    def carry_out_plan(self) -> None:
        children = list(self.children.values())
        commands = plan(children, self.remembered, self.wanted, LIMITS, self.now)
        assert commands == plan(children, self.deaths, self.wanted, LIMITS, self.now), "a death was forgotten"
        for command in commands:
            match command:
                case Start(role, seat):
                    self.start(role, seat)
                case Stop(pid, grace_s, _):
                    self.stop(self.children[pid], grace_s)
                case Kill(pid, _):
                    child = self.children[pid]
                    assert not child.is_killed, "killed twice"
                    self.children[pid] = replace(child, is_killed=True)
                case _:
                    raise AssertionError(f"gave up: {command}")

    def start(self, role: Role, seat: int) -> None:
        assert seat < self.wanted.get(role, 0), "nobody wanted it"
        holders = [one for one in self.children.values() if (one.role, one.seat) == (role, seat)]
        if role in SINGLE:
            assert not holders, "two at once"
        assert role is not Role.ENGINE or any(
            one.role is Role.DATABASE and one.is_ready for one in self.children.values()
        ), "an engine before its database"
        faults = [death for death in self.deaths if (death.role, death.seat) == (role, seat)][-3:]
        if len(faults) == 3 and all(
            not death.was_ready and not death.was_planned and death.exit_code for death in faults
        ):
            assert self.now > faults[-1].at, "no backoff after three failed starts"
        self.pids += 1
        self.children[self.pids] = Child(
            role=role, seat=seat, pid=self.pids, started_at=self.now, is_ready=False
        )

    def stop(self, child: Child, grace_s: float) -> None:
        assert child.kill_at is None, "told to stop twice"
        self.children[child.pid] = replace(child, kill_at=self.now + grace_s)
        if child.seat < self.wanted.get(child.role, 0):
            assert child.role is Role.WORKER
            assert any(other.is_admitted for other in self.serving(child.seat) if other.pid > child.pid), (
                "it left before its successor was admitted"
            )

    def serving(self, seat: int) -> list[Child]:
        return [
            one
            for one in self.children.values()
            if one.role is Role.WORKER and one.seat == seat and one.kill_at is None and not one.is_killed
        ]

    def some_child(self, data: st.DataObject) -> Child:
        return self.children[data.draw(st.sampled_from(sorted(self.children)))]

    @precondition(lambda self: self.children)
    @rule(data=st.data())
    def become_ready(self, data: st.DataObject) -> None:
        child = self.some_child(data)
        self.children[child.pid] = replace(child, is_ready=True)
        self.carry_out_plan()

    @precondition(lambda self: any(one.is_ready for one in self.children.values()))
    @rule(data=st.data())
    def be_admitted(self, data: st.DataObject) -> None:
        ready = sorted(pid for pid, one in self.children.items() if one.is_ready)
        child = self.children[data.draw(st.sampled_from(ready))]
        self.children[child.pid] = replace(child, is_admitted=child.role is Role.WORKER)
        self.carry_out_plan()

    @precondition(lambda self: self.children)
    @rule(data=st.data(), private_mib=st.sampled_from([0.0, 99.0, 150.0, 201.0]))
    def grow(self, data: st.DataObject, private_mib: float) -> None:
        child = self.some_child(data)
        self.children[child.pid] = replace(child, private_mib=private_mib)
        self.carry_out_plan()

    @precondition(lambda self: self.children)
    @rule(data=st.data(), reason=st.sampled_from(["max_jobs", "idle", "new settings"]))
    def become_due(self, data: st.DataObject, reason: str) -> None:
        child = self.some_child(data)
        if child.role is Role.WORKER:
            self.children[child.pid] = replace(child, due=reason)
            self.carry_out_plan()

    @precondition(lambda self: self.children)
    @rule(data=st.data(), silent_s=st.sampled_from([0.0, 19.0, 21.0]))
    def be_silent(self, data: st.DataObject, silent_s: float) -> None:
        child = self.some_child(data)
        self.children[child.pid] = replace(child, silent_s=silent_s)
        self.carry_out_plan()

    @precondition(lambda self: self.children)
    @rule(data=st.data(), exit_code=st.sampled_from([-9, -11, 1, 0, 255]))
    def die(self, data: st.DataObject, exit_code: int) -> None:
        self.bury(self.some_child(data), exit_code)
        self.carry_out_plan()

    def bury(self, child: Child, exit_code: int) -> None:
        del self.children[child.pid]
        death = Death(
            role=child.role,
            seat=child.seat,
            at=self.now,
            lived_s=self.now - child.started_at,
            was_ready=child.is_ready,
            exit_code=exit_code,
            was_planned=child.kill_at is not None,
        )
        self.deaths.append(death)
        self.remembered = remember(self.remembered, death, LIMITS)

    @rule(seconds=st.sampled_from([0.1, 1.0, 6.0, 40.0, 600.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.carry_out_plan()
        for child in self.children.values():
            if child.role is Role.WORKER and child.private_mib > LIMITS.hard_mib:
                assert child.is_killed, "above the hard limit, and alive"
            if child.kill_at is not None and self.now >= child.kill_at:
                assert child.is_killed, "out of patience, and alive"
            if child.silent_s > LIMITS.silence_s.get(child.role, float("inf")):
                assert child.is_killed, "silent, and alive"
            if not child.is_ready and self.now - child.started_at > LIMITS.ready_within_s[child.role]:
                assert child.is_killed, "never ready, and alive"
        self.carry_out_plan()

    @rule(workers=st.integers(0, MOST_WORKERS))
    def want_another_number(self, workers: int) -> None:
        self.wanted[Role.WORKER] = workers
        self.carry_out_plan()

    @invariant()
    def nobody_is_there_twice(self) -> None:
        numbers = Counter((one.role, one.seat) for one in self.children.values() if one.role in SINGLE)
        assert max(numbers.values(), default=0) <= 1

    @invariant()
    def memory_is_kept_for_one_more_only(self) -> None:
        workers = [one for one in self.children.values() if one.role is Role.WORKER]
        assert len(workers) <= MOST_WORKERS + LIMITS.extra_workers

    @invariant()
    def a_seat_holds_one_worker_and_a_successor_at_most(self) -> None:
        assert all(len(self.serving(seat)) <= 2 for seat in range(MOST_WORKERS))

    def teardown(self) -> None:
        """Once all are well the family comes to rest with everyone wanted, each once, and none due."""
        for _ in range(40):
            self.now += 6.0
            for child in list(self.children.values()):
                if child.kill_at is not None or child.is_killed:
                    self.bury(child, 0)
                else:
                    self.children[child.pid] = replace(
                        child, is_ready=True, is_admitted=True, private_mib=0.0, silent_s=0.0
                    )
            self.carry_out_plan()
        resting = Counter(one.role for one in self.children.values())
        assert resting == Counter({role: number for role, number in self.wanted.items() if number})
        assert not any(one.due for one in self.children.values())
        self.wanted = {}
        for _ in range(5):
            self.carry_out_plan()
            for child in list(self.children.values()):
                if child.kill_at is not None:
                    self.bury(child, 0)
        assert not self.children, "somebody is left behind"


TestAnyFamily = AnyFamily.TestCase
