# SPDX-License-Identifier: BSD-3-Clause
"""Instruction sets, build facts and memory."""

import sys
from typing import Any

import numpy as np
import pytest

import pyconv
from checks import assert_same_bits
from children import run_python
from pyconv import functional as F
from pyconv import runtime
from reference import Array


@pytest.fixture
def image(rng: np.random.Generator) -> tuple[Array, Array]:
    """Return operands of a convolution whose output comes from recycled memory."""
    x = rng.standard_normal((4, 16, 40, 40)).astype(np.float32)
    return x, rng.standard_normal((24, 16, 3, 3)).astype(np.float32)


# Instruction sets --------------------------------------------------------------------------------


def test_use_isa_acts_at_once_and_ends_with_the_block() -> None:
    before = runtime.get_isa()
    for name in runtime.available_isas():
        with runtime.use_isa(name):
            assert runtime.get_isa() == name
            assert runtime.build_info()["isa"] == name
            with runtime.use_isa("generic"):
                assert runtime.get_isa() == "generic"
            assert runtime.get_isa() == name
        assert runtime.get_isa() == before
    restore = runtime.use_isa("generic")
    assert runtime.get_isa() == "generic"
    restore.__exit__(None, None, None)
    assert runtime.get_isa() == before


@pytest.mark.parametrize("name", ["", "AVX2", "avx9000", "generic ", 1, None, b"generic"])
def test_unknown_isa_is_named(name: Any) -> None:
    before = runtime.get_isa()
    with pytest.raises((ValueError, TypeError), match=r"^use_isa: name"):
        runtime.use_isa(name)
    assert runtime.get_isa() == before


def test_isa_comes_from_the_environment() -> None:
    script = "from pyconv import runtime; print(runtime.get_isa())"
    for name in runtime.available_isas():
        assert run_python(script, {"PYCONV_ISA": name}) == name
    assert run_python(script, {"PYCONV_ISA": ""}) == runtime.available_isas()[-1]


def test_unknown_isa_in_the_environment_is_an_error_at_import() -> None:
    script = """
        try:
            import pyconv
        except ImportError as error:
            print(error)
        """
    message = run_python(script, {"PYCONV_ISA": "avx9000"})
    assert message.startswith("PYCONV_ISA names no instruction set of this machine, got 'avx9000'")
    assert "generic" in message


def test_kernel_table_lists_every_op_for_every_isa_and_dtype() -> None:
    rows = runtime.kernels()
    names = [row["name"] for row in rows]
    assert len(set(names)) == len(names)
    isas, dtypes = runtime.available_isas(), ("float32", "float64")
    ops = {row["op"] for row in rows}
    present = {(row["op"], row["isa"], row["dtype"]) for row in rows}
    assert present == {(op, isa, dtype) for op in ops for isa in isas for dtype in dtypes}
    for row in rows:
        if row["op"] == "gemm":
            short = row["dtype"].replace("loat", "")
            assert row["name"] == f"gemm_{short}_{row['MR']}x{row['NR']}_{row['isa']}"
            assert row["MC"] % row["MR"] == 0
            assert min(row["KC"], row["NC"]) >= row["NR"]


def test_build_info_says_how_the_extension_was_built() -> None:
    info = runtime.build_info()
    assert info["version"] == pyconv.__version__
    assert set(runtime.available_isas()) <= set(info["isas_compiled"])
    assert "-ffast-math" not in info["flags"]
    assert "-march=native" not in info["flags"]
    assert info["compiler"]


# Memory ------------------------------------------------------------------------------------------


def test_released_memory_is_not_retained(image: tuple[Array, Array]) -> None:
    output = F.conv2d(*image, padding=1)
    live = runtime.memory_info()["live"]
    assert live >= output.nbytes
    del output
    after = runtime.memory_info()
    assert after["live"] < live
    assert after["retained"] > 0
    pyconv.release_memory()
    assert runtime.memory_info()["retained"] == 0
    assert F.conv2d(*image, padding=1).shape == (4, 24, 40, 40)


def test_retained_memory_is_bounded_whatever_the_shapes(rng: np.random.Generator) -> None:
    """Retained memory never exceeds the real peak by more than the documented 64 MiB."""
    pyconv.release_memory()
    for _ in range(300):
        N, C, OC = rng.integers(1, 9, 3)
        H, W = rng.integers(3, 70, 2)
        x = np.ones((N, C, H, W), np.float32)
        w = np.ones((OC, C, 3, 3), np.float32)
        algorithm = str(rng.choice(["im2col", "implicit_gemm", "direct"]))
        output = F.conv2d(x, w, algorithm=algorithm)
        F.conv2d_backward_weight(output, x, w.shape, algorithm=algorithm)
        info = runtime.memory_info()
        assert 0 <= info["live"] <= info["peak"]
        assert info["retained"] <= info["peak"] - info["live"] + (64 << 20)


def test_blocks_of_all_sizes_keep_their_values(rng: np.random.Generator) -> None:
    """Blocks are cut out of larger ones and joined again: no two may overlap, and none is lost."""
    pyconv.release_memory()
    kept: dict[int, Array] = {}
    for step in range(2000):
        size = int(2 ** rng.uniform(10, 20))
        kept[step] = F.relu(np.full(size, step, np.float32))
        # Few and many in turn.
        for key in rng.permutation(list(kept))[: rng.integers(3 if step // 100 % 2 else 6)]:
            assert np.all(kept.pop(key) == key)
        info = runtime.memory_info()
        assert info["live"] >= sum(
            array.nbytes for array in kept.values() if array.nbytes >= 1 << 14
        )
        assert info["retained"] <= info["peak"] - info["live"] + (64 << 20)
    for key, array in kept.items():
        assert np.all(array == key)


@pytest.mark.skipif(sys.platform != "linux", reason="page faults are counted as on Linux")
def test_memory_of_one_size_serves_others() -> None:
    """What a pass through layers of many sizes used serves the next one, without a page fault."""
    script = """
        import resource
        import numpy as np
        from pyconv import functional as F

        x = np.ones(100 << 18, np.float32)
        def work():
            for mebibytes in (100, 50, 85, 60, 70):
                F.relu(x[: mebibytes << 18])
        work()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(3):
            work()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
        """
    assert int(run_python(script)) < 20


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux")
def test_resident_memory_does_not_grow_with_the_number_of_shapes() -> None:
    script = """
        import resource
        import numpy as np
        from pyconv import functional as F

        def work(seed, count):
            rng = np.random.default_rng(seed)
            for _ in range(count):
                N, C, OC = rng.integers(1, 9, 3)
                x = np.ones((N, C, *rng.integers(3, 70, 2)), np.float32)
                F.max_pool2d(F.conv2d(x, np.ones((OC, C, 3, 3), np.float32), padding=1), 2)

        F.conv2d(np.ones((8, 8, 70, 70), "f"), np.ones((8, 8, 3, 3), "f"))
        work(0, 300)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        work(1, 1500)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        """
    assert int(run_python(script)) <= 64 << 10  # KiB


def test_outputs_outlive_release_and_their_memory_is_reused(image: tuple[Array, Array]) -> None:
    output = F.conv2d(*image, padding=1)
    copy = output.copy()
    pyconv.release_memory()
    others = [F.conv2d(*image, padding=1) + 1 for _ in range(3)]
    assert_same_bits(output, copy)
    assert not any(np.shares_memory(output, other) for other in others)
    view = output[1:, ::2]
    kept = view.copy()
    del output
    for _ in range(3):
        F.conv2d(*image, padding=1)
    assert_same_bits(view, kept)
