# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures and hypothesis profiles shared by all test files."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from pyconv import init, runtime

# A shell that starts the tests in the background has them ignore Ctrl-C, and what they start inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The function-scoped fixtures that properties use (isa, dtype) hold no state that an example
# could change.
_COMMON: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}
settings.register_profile("ci", derandomize=True, max_examples=40, **_COMMON)
settings.register_profile("nightly", max_examples=5000, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a generator that starts at the same place in every test."""
    return np.random.default_rng(20260101)


@pytest.fixture(params=runtime.available_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Force each instruction set that this machine can run, in turn."""
    with runtime.use_isa(request.param):
        assert runtime.get_isa() == request.param
        yield request.param


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> np.dtype[Any]:
    """Return each floating type that pyconv computes in."""
    dtype: np.dtype[Any] = np.dtype(request.param)
    return dtype


@pytest.fixture
def bounded_address_space() -> Iterator[None]:
    """Make an absurd allocation fail at once instead of driving the machine out of memory."""
    if sys.platform != "linux":
        pytest.skip("the size of the address space is read from Linux's /proc")
    import resource  # noqa: PLC0415 (does not exist on Windows)

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**30, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave weights at 0: drawing the 10^8 of a VGG takes seconds, and only shapes matter."""

    def zeros(shape: Any, *, rng: Any, dtype: Any = np.float32, fan_in: Any = None) -> Any:
        return np.zeros(shape, dtype)

    monkeypatch.setattr(init, "fan_in_uniform", zeros)
