# SPDX-License-Identifier: BSD-3-Clause
"""The package as a whole: its names, stub, documentation, size, instructions and layering."""

import ast
import importlib
import importlib.metadata
import inspect
import re
import shutil
import statistics
import subprocess
import sys
import zlib
from bisect import bisect_right
from pathlib import Path
from typing import Any

import pytest

import pyconv
import reference
from calls import CALLS
from children import run_python
from pyconv import _core, functional, runtime

ROOT = Path(__file__).resolve().parents[1]
EXTENSION = Path(_core.__file__)
PACKAGE = Path(inspect.getfile(runtime)).parent
FUNCTIONS = sorted(
    name
    for name, value in vars(functional).items()
    if inspect.isfunction(value) and not name.startswith("_")
)


def tool(name: str) -> str:
    """Return the path of a program, or skip."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def output_of(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


# Names -------------------------------------------------------------------------------------------


def test_every_function_has_a_row_in_the_table_of_calls() -> None:
    """And so is held to determinism, memory safety, special values and bad input."""
    assert {call.function for call in CALLS} == set(FUNCTIONS)


def test_every_function_has_a_definition() -> None:
    """Dropout is random: test_activation.py tests what it promises."""
    assert [name for name in FUNCTIONS if not hasattr(reference, name)] == ["dropout"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_take_options_by_keyword_and_out_last(name: str) -> None:
    parameters = inspect.signature(getattr(functional, name)).parameters
    names = list(parameters)
    if "out" in names:
        assert names[-1] == "out"
        assert parameters["out"].default is None
    for parameter in parameters.values():
        optional = parameter.default is not inspect.Parameter.empty
        if optional and parameter.name not in {"bias", "weight"}:
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_documented(name: str) -> None:
    documentation = inspect.getdoc(getattr(functional, name)) or ""
    for section in ("Parameters", "Returns"):
        assert re.search(rf"^{section}\n-+$", documentation, re.MULTILINE), section
    for parameter in inspect.signature(getattr(functional, name)).parameters:
        assert re.search(rf"^(\w+, )*{parameter}(, \w+)*( :|$)", documentation, re.MULTILINE), (
            f"{parameter} is not described"
        )


def test_stub_describes_the_extension() -> None:
    """Every name and no more, and as many parameters as pybind11 reports."""
    stub = ast.parse((PACKAGE / "_core.pyi").read_text())
    described: dict[str, int | None] = {}
    for node in stub.body:
        if isinstance(node, ast.FunctionDef):
            arguments = node.args
            described[node.name] = len(arguments.posonlyargs + arguments.args)
        elif isinstance(node, ast.ClassDef):
            described[node.name] = None
        elif isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) != "TypeAlias":
            described[ast.unparse(node.target)] = None
    names = {name for name in vars(_core) if not name.startswith("__")} | {"__version__"}
    assert set(described) == names
    for name, count in described.items():
        if count is not None:
            signature = (getattr(_core, name).__doc__ or "").splitlines()[0]
            assert len(re.findall(r"\barg\d+: ", signature)) == count, signature


def test_version_is_that_of_the_distribution() -> None:
    assert pyconv.__version__ == importlib.metadata.version("pyconv-nn")
    assert set(pyconv.__all__) <= set(dir(pyconv))
    assert (PACKAGE / "py.typed").exists()


# Cost --------------------------------------------------------------------------------------------


def test_import_is_quick() -> None:
    """50 ms beyond NumPy on a quiet machine; the limits leave room for what else runs on this one."""
    script = """
        import time
        import numpy
        start = time.perf_counter()
        import pyconv
        print(time.perf_counter() - start)
        """
    times = [float(run_python(script)) for _ in range(7)]
    assert min(times) <= 0.075
    assert statistics.median(times) <= 0.2


def test_import_brings_numpy_and_nothing_else() -> None:
    script = """
        import sys
        import numpy
        before = set(sys.modules)
        import pyconv
        names = {name.partition(".")[0] for name in set(sys.modules) - before}
        print(*sorted(names - set(sys.stdlib_module_names) - {"pyconv", "numpy"}))
        """
    brought = run_python(script).split()
    # An editable installation brings the hook that finds the sources; Cython, in modules of NumPy
    # that are loaded on demand, brings modules of its own.
    assert [n for n in brought if not n.startswith(("_editable", "__", "_cython", "cython"))] == []


def test_import_leaves_out_what_numpy_loads_on_demand() -> None:
    """numpy.random alone takes half as long as pyconv may."""
    script = """
        import sys
        import numpy
        before = set(sys.modules)
        import pyconv
        lazy = {"numpy.random", "numpy.fft", "numpy.polynomial", "numpy.ma"}
        print(*sorted(lazy & (set(sys.modules) - before)))
        """
    assert run_python(script) == ""


def test_wheel_is_small(tmp_path: Path) -> None:
    """A wheel, whose extension is stripped, may have 2 MiB. Builds for tests have an ISA more."""
    stripped = tmp_path / EXTENSION.name
    output_of(tool("strip"), "-o", stripped, EXTENSION)
    files = {path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    packed = sum(len(zlib.compress(path.read_bytes())) for path in {*files, stripped} - {EXTENSION})
    assert packed <= 2 * 2**20 + 450_000 * ("avx2_512" in runtime.build_info()["isas_compiled"])


# Instructions ------------------------------------------------------------------------------------

on_x86 = pytest.mark.skipif(
    "avx2" not in runtime.build_info()["isas_compiled"], reason="built for another architecture"
)


def function_ranges() -> list[tuple[int, int, str]]:
    """Address, end and name of the functions whose symbols the extension still has."""
    nm = tool("nm")
    symbols = output_of(nm, "-CS", "--defined-only", EXTENSION)
    symbols = symbols or output_of(nm, "-DCS", "--defined-only", EXTENSION)
    found = re.findall(r"^([0-9a-f]+) ([0-9a-f]+) [TtWw] (.*)$", symbols, re.MULTILINE)
    return sorted((int(at, 16), int(at, 16) + int(size, 16), name) for at, size, name in found)


@on_x86
def test_functions_outside_the_isa_namespaces_hold_no_vector_extensions() -> None:
    """An inline function compiled for AVX2 and kept for all is an illegal instruction elsewhere.

    A stripped extension still names the functions where that happens: the exported, inline ones.
    """
    objdump = tool("objdump")
    ranges = function_ranges()
    starts = [start for start, _, _ in ranges]
    listing = output_of(objdump, "-d", "--no-show-raw-insn", "-j", ".text", EXTENSION)
    inside, guilty = 0, set()
    for address, mnemonic in re.findall(r"^ +([0-9a-f]+):\t(\w+)", listing, re.MULTILINE):
        position = bisect_right(starts, int(address, 16)) - 1
        if position < 0 or int(address, 16) >= ranges[position][1]:
            continue
        inside += 1
        name = ranges[position][2]
        vex = mnemonic.startswith("v") and mnemonic not in {"verr", "verw"}
        if vex and not re.search(r"\bpyconv::(avx2|avx2_512|avx512)::", name):
            guilty.add(name)
    assert inside > 100, "no functions were examined"
    assert not guilty
    assert " vfmadd" in listing.replace("\t", " "), "the kernels themselves were not seen"


def innermost_loops(listing: str) -> list[list[str]]:
    """Find the bodies of the loops that hold no other loop, in a function's disassembly."""
    lines = re.findall(r"^ +([0-9a-f]+):\t(.*)$", listing, re.MULTILINE)
    position = {address: i for i, (address, _) in enumerate(lines)}
    ends = [
        (position[target], i)
        for i, (_, text) in enumerate(lines)
        for target in re.findall(r"^j\w+ +([0-9a-f]+) ", text)
        if position.get(target, i + 1) <= i
    ]
    return [
        [text for _, text in lines[start : end + 1]]
        for start, end in ends
        if not any(start <= a and b <= end and (a, b) != (start, end) for a, b in ends)
    ]


FAST_GEMM = [r for r in runtime.kernels() if r["op"] == "gemm" and r["isa"] in {"avx2", "avx512"}]


@on_x86
@pytest.mark.parametrize("row", FAST_GEMM, ids=lambda row: row["name"])
def test_micro_kernels_keep_their_tile_in_registers(row: dict[str, Any]) -> None:
    """A sum that lives on the stack costs a load and a store at each step: a third of the speed."""
    c_type = {"float32": "float", "float64": "double"}[row["dtype"]]
    name = f"pyconv::{row['isa']}::gemm<{c_type}, {row['MR']}, 2>("
    ranges = [(start, end) for start, end, text in function_ranges() if name in text]
    if not ranges:
        pytest.skip("the extension is stripped")
    start, end = ranges[0]
    listing = output_of(
        tool("objdump"), "-d", "--no-show-raw-insn", f"--start-address={start}",
        f"--stop-address={end}", EXTENSION,
    )  # fmt: skip
    products = [k * 2 * row["MR"] for k in (1, 2, 4)]  # steps
    loops = [
        loop
        for loop in innermost_loops(listing)
        if sum("vfmadd" in text for text in loop) in products
    ]
    assert len(loops) >= 5, "packed, columns, rows, and offsets of A and of B"
    for loop in loops:
        assert [
            text for text in loop if re.search(r"[yz]mm.*\(%r[sb]p|\(%r[sb]p.*[yz]mm", text)
        ] == []


@on_x86
@pytest.mark.parametrize("isa", ["generic", "avx2", "avx2_512", "avx512"])
def test_isa_objects_define_names_in_their_namespace_only(isa: str, tmp_path: Path) -> None:
    """Compiled without optimisation, so that every inline function in use is emitted."""
    source = ROOT / "csrc" / "kernels" / f"isa_{isa}.cpp"
    if not source.exists():
        pytest.skip("the C++ sources are not here")
    object_file = tmp_path / "isa.o"
    cmake = (ROOT / "CMakeLists.txt").read_text()
    found = re.search(rf"pyconv_isa\({isa}((?: -\S+)*)\)", cmake)
    assert found is not None
    command = [tool("g++"), "-std=c++20", "-fno-exceptions", "-fno-rtti", "-Wno-psabi"]
    flags = ["-I", str(ROOT / "csrc"), *found[1].split(), "-O0"]
    subprocess.run([*command, *flags, "-c", source, "-o", object_file], check=True)
    symbols = output_of(tool("nm"), "-C", "--defined-only", object_file).splitlines()
    names = [line.split(" ", 2)[2] for line in symbols]
    assert len(names) > 20
    assert [name for name in names if f"pyconv::{isa}::" not in name] == []
    assert ".init_array" not in output_of(tool("readelf"), "-SW", object_file)


@pytest.mark.skipif(sys.platform != "linux", reason="reads an ELF file")
def test_extension_is_linked_plainly() -> None:
    """No OpenMP, no run path, nothing executable and writeable, all symbols bound at load."""
    libraries = output_of(tool("ldd"), EXTENSION)
    assert not re.search(r"libgomp|libiomp|libomp|libpython", libraries)
    dynamic = output_of(tool("readelf"), "-dlW", EXTENSION)
    assert not re.search(r"RPATH|RUNPATH|TEXTREL", dynamic)
    assert "BIND_NOW" in dynamic or "NOW" in dynamic
    assert "GNU_RELRO" in dynamic
    assert "RWE" not in dynamic
    exported = output_of(tool("nm"), "-D", "--defined-only", EXTENSION)
    strong = set(re.findall(r" T (\w+)", exported))
    c_symbols = {"pyconv_get_num_threads", "pyconv_set_num_threads", "pyconv_version"}
    assert strong == {"PyInit__core"} | c_symbols


# Sources -----------------------------------------------------------------------------------------

FLOORS = ["base", "kernels", "ops", "bindings"]


def test_cpp_floors_include_downwards_only() -> None:
    sources = [path for path in (ROOT / "csrc").rglob("*") if path.suffix in {".h", ".cpp"}]
    if not sources:
        pytest.skip("the C++ sources are not here")
    for path in sources:
        text = path.read_text()
        floor = FLOORS.index(path.relative_to(ROOT / "csrc").parts[0])
        for included in re.findall(r'#include "(\w+)/', text):
            assert FLOORS.index(included) <= floor, f"{path.name} includes {included}/"
        if floor < FLOORS.index("bindings"):
            assert not re.search(r"pybind11|Python\.h|\bPy[A-Z]\w+\(", text), path.name
        if path.name.endswith("-inl.h") or path.name.startswith("isa_"):
            assert not re.search(r"#include <(?!immintrin|arm_neon)", text), path.name


def imports_of(path: Path) -> set[str]:
    """Return the pyconv modules that a module imports at its top level."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "pyconv":
                names = [f"pyconv.{alias.name}" for alias in node.names]
            found.update(names)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return {name.split(".")[1] for name in found if name.startswith("pyconv.")}


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("runtime", {"_core"}),
        ("functional", {"_core", "functional"}),
        ("layers", {"functional", "layers", "init"}),
    ],
)
def test_python_floors_import_downwards_only(module: str, allowed: set[str]) -> None:
    files = [PACKAGE / f"{module}.py", *(PACKAGE / module).glob("*.py")]
    for path in files:
        if path.exists():
            assert imports_of(path) <= allowed, path.name


def repository_texts() -> list[Path]:
    suffixes = {".py", ".pyi", ".pyx", ".h", ".cpp", ".toml", ".md", ".txt", ".yml", ".yaml", ""}
    folders = [
        ROOT / name for name in ("csrc", "pyconv", "tests", "bench", "examples", "docs", ".ci")
    ]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    files += [path for path in ROOT.iterdir() if path.is_file() and path.suffix]
    caches = {"__pycache__", ".ruff_cache", ".mypy_cache", ".pytest_cache", ".hypothesis"}
    return [path for path in files if path.suffix in suffixes and not caches & set(path.parts)]


def test_sources_name_no_machine() -> None:
    """No absolute path of a person's or a build machine's folder."""
    pattern = re.compile(r"/(home|root|Users|work|builds)/\w")
    for path in repository_texts():
        assert not (path != Path(__file__) and pattern.search(path.read_text())), path


def test_sources_carry_a_licence_line() -> None:
    for path in repository_texts():
        if path.suffix in {".py", ".pyi", ".pyx", ".h", ".cpp"} and path.stat().st_size:
            assert "SPDX-License-Identifier: BSD-3-Clause" in path.read_text()[:200], path


def test_readme_has_the_two_commands() -> None:
    readme = ROOT / "README.md"
    if not readme.exists():
        pytest.skip("the README is not here")
    text = readme.read_text()
    assert 'python -m pip install ".[train]" && pyconv train digits --out runs/digits' in text
    assert 'python -m pip install ".[test]" && python -m pytest' in text
    entry_points = importlib.metadata.entry_points(group="console_scripts")
    assert "pyconv" in {entry.name for entry in entry_points}
