# SPDX-License-Identifier: BSD-3-Clause
"""Learning-rate schedules: the formulae, agreement with torch, and the state of the plateau rule."""

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pyconv.optim import (
    CosineSchedule,
    ExponentialSchedule,
    MultiStepSchedule,
    OneCycleSchedule,
    PlateauSchedule,
    Schedule,
    StepSchedule,
)

STEPS = 40


def test_step_schedule_matches_definition() -> None:
    schedule = StepSchedule(0.8, 3, 0.5)
    assert [schedule(step) for step in range(7)] == [0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.2]


def test_multi_step_schedule_matches_definition() -> None:
    schedule = MultiStepSchedule(0.8, (2, 4, 4), 0.5)
    assert [schedule(step) for step in range(6)] == [0.8, 0.8, 0.4, 0.4, 0.1, 0.1]


def test_exponential_schedule_matches_definition() -> None:
    schedule = ExponentialSchedule(0.8, 0.5)
    assert [schedule(step) for step in (0, 1, 4)] == [0.8, 0.4, 0.05]


def test_cosine_schedule_rises_and_falls() -> None:
    schedule = CosineSchedule(2.0, 110, warmup=10, final=0.5)
    rates = [schedule(step) for step in range(120)]
    assert rates[0] == 0.2
    assert rates[9] == rates[10] == 2.0
    assert rates[60] == pytest.approx(1.25)
    assert rates[110:] == [0.5] * 10
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_one_cycle_schedule_matches_definition() -> None:
    """From 1 / 10 to 1 at step 0.3 * 21 - 1 = 5.3, then to 1 / 100 at step 20."""
    schedule = OneCycleSchedule(1.0, 21, pct_start=0.3, div_factor=10, final_div_factor=10)
    for step in range(6):
        expected = 1 - 0.9 / 2 * (1 + math.cos(math.pi * step / 5.3))
        assert schedule(step) == pytest.approx(expected, rel=1e-14)
    for step in range(6, 21):
        expected = 0.01 + 0.99 / 2 * (1 + math.cos(math.pi * (step - 5.3) / 14.7))
        assert schedule(step) == pytest.approx(expected, rel=1e-13)
    assert schedule(0) == pytest.approx(0.1)
    assert schedule(20) == pytest.approx(0.01)
    assert schedule(1000) == schedule(20)


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
@pytest.mark.parametrize("pct_start", [0.0, 0.1, 0.5, 1.0])
def test_one_cycle_schedule_of_few_steps_stays_in_range(steps: int, pct_start: float) -> None:
    schedule = OneCycleSchedule(1.0, steps, pct_start=pct_start)
    rates = [schedule(step) for step in range(steps + 3)]
    assert all(1 / 25 / 1e4 <= rate <= 1 for rate in rates)
    # Where the rise takes no step the first one is at the peak.
    assert rates[0] == pytest.approx(1.0 if pct_start * steps <= 1 else 1 / 25)
    assert rates[-1] == pytest.approx(1 / 25 / 1e4)


def test_plateau_schedule_matches_definition() -> None:
    """Two epochs without a tenth less are borne, one after a reduction does not count."""
    schedule = PlateauSchedule(1.0, 0.5, patience=2, threshold=0.1, cooldown=1, min_lr=0.3)
    # The comment has the epochs waited; * a reduction, - an epoch of the cooldown.
    script = [
        (1.0, 1.0),  # 0
        (0.91, 1.0),  # 1
        (0.89, 1.0),  # 0
        (0.89, 1.0),  # 1
        (0.85, 1.0),  # 2
        (0.81, 0.5),  # *
        (0.81, 0.5),  # -
        (math.nan, 0.5),  # 1
        (0.81, 0.5),  # 2
        (0.81, 0.3),  # *, not below min_lr
        (0.1, 0.3),  # 0
    ]
    for loss, rate in script:
        schedule.epoch_end(loss)
        assert schedule(0) == schedule(1000) == rate


def test_plateau_schedule_continues_from_its_state() -> None:
    rng = np.random.default_rng(0)
    losses = rng.random(60)
    whole = PlateauSchedule(1.0, 0.9, patience=1, cooldown=2)
    rates = []
    for loss in losses:
        whole.epoch_end(loss)
        rates.append(whole(0))
    assert len(set(rates)) > 5
    for stop in range(1, 20):
        first, second = (PlateauSchedule(1.0, 0.9, patience=1, cooldown=2) for _ in range(2))
        for loss in losses[:stop]:
            first.epoch_end(loss)
        second.load_state_dict(first.state_dict())
        for loss, rate in zip(losses[stop:], rates[stop:], strict=True):
            second.epoch_end(loss)
            assert second(0) == rate


def test_state_of_another_schedule_is_refused() -> None:
    message = "CosineSchedule.load_state_dict: state has the wrong keys, got ['best', 'cooling'"
    with pytest.raises(ValueError, match=re.escape(message)):
        CosineSchedule(0.1, 10).load_state_dict(PlateauSchedule(0.1).state_dict())
    with pytest.raises(ValueError, match=r"PlateauSchedule.load_state_dict: .* got \[\]; expected"):
        PlateauSchedule(0.1).load_state_dict({})


@pytest.mark.parametrize(
    ("schedule", "name", "options"),
    [
        (StepSchedule(0.3, 7, 0.5), "StepLR", {"step_size": 7, "gamma": 0.5}),
        (
            MultiStepSchedule(0.3, (5, 5, 20), 0.5),
            "MultiStepLR",
            {"milestones": [5, 5, 20], "gamma": 0.5},
        ),
        (ExponentialSchedule(0.3, 0.9), "ExponentialLR", {"gamma": 0.9}),
        (
            CosineSchedule(0.3, STEPS, final=0.01),
            "CosineAnnealingLR",
            {"T_max": STEPS, "eta_min": 0.01},
        ),
        (OneCycleSchedule(0.3, STEPS), "OneCycleLR", {"max_lr": 0.3, "total_steps": STEPS}),
        (
            OneCycleSchedule(0.3, STEPS, pct_start=0.8, div_factor=5, final_div_factor=50),
            "OneCycleLR",
            {
                "max_lr": 0.3,
                "total_steps": STEPS,
                "pct_start": 0.8,
                "div_factor": 5,
                "final_div_factor": 50,
            },
        ),
        (
            PlateauSchedule(0.3, 0.5, patience=1, threshold=0.05, cooldown=2, min_lr=0.02),
            "ReduceLROnPlateau",
            {"factor": 0.5, "patience": 1, "threshold": 0.05, "cooldown": 2, "min_lr": 0.02},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_schedule_agrees_with_torch(schedule: Schedule, name: str, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3, momentum=0.9)
    other = getattr(torch.optim.lr_scheduler, name)(optimizer, **options)
    rng = np.random.default_rng(2)
    for step in range(STEPS):
        expected = optimizer.param_groups[0]["lr"]
        assert schedule(step) == pytest.approx(expected, rel=1e-13), step
        optimizer.step()
        loss = float(rng.random()) + 1 / (1 + step)
        schedule.epoch_end(loss)
        if step < STEPS - 1:
            other.step(*[loss] * isinstance(schedule, PlateauSchedule))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StepSchedule(-1.0, 3), "StepSchedule: lr is out of range, got -1.0"),
        (lambda: StepSchedule(1.0, 0), "StepSchedule: step_size is not positive, got 0"),
        (lambda: MultiStepSchedule(1.0, (5, 3)), "milestones are not in order, got (5, 3)"),
        (lambda: ExponentialSchedule(1.0, math.nan), "gamma is out of range, got nan"),
        (lambda: CosineSchedule(math.inf, 3), "CosineSchedule: peak is out of range, got inf"),
        (
            lambda: CosineSchedule(1.0, 3, warmup=4),
            "warmup is out of range, got 4; expected 0 to 3",
        ),
        (lambda: OneCycleSchedule(1.0, 0), "OneCycleSchedule: steps is not positive, got 0"),
        (
            lambda: OneCycleSchedule(1.0, 9, pct_start=1.5),
            "OneCycleSchedule: pct_start is out of range, got 1.5; expected 0 to 1",
        ),
        (lambda: OneCycleSchedule(1.0, 9, div_factor=0), "div_factor is not positive, got 0"),
        (lambda: PlateauSchedule(1.0, 1.0), "factor is out of range, got 1.0; expected between"),
        (lambda: PlateauSchedule(1.0, patience=-1), "PlateauSchedule: patience is out of range"),
    ],
)
def test_schedules_check_their_arguments(make: Callable[[], Schedule], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()
