"""Facts of the packaging that no linter holds: locks, wheel and sdist, and what a folder is for."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "trade_engine"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def group(name: str) -> list[Requirement]:
    """Return the requirements of a dependency group, those of included groups among them."""
    found: list[Requirement] = []
    for entry in PROJECT["dependency-groups"][name]:
        if isinstance(entry, dict):
            found += group(entry["include-group"])
        else:
            found.append(Requirement(entry))
    return found


RUN = [Requirement(line) for line in PROJECT["project"]["dependencies"]]
DEMO = [Requirement(line) for line in PROJECT["project"]["optional-dependencies"]["demo"]]
LOCKS = {
    "requirements.lock": RUN + group("build"),
    "requirements-dev.lock": RUN + DEMO + group("dev"),
}


class Pin(NamedTuple):
    """One block of a lock: `name==version ; marker`, its hashes, and who asked for it."""

    name: str
    version: str
    hashes: list[str]
    asked_for_by_us: bool


def pins(lock: str) -> list[Pin]:
    """Return the blocks of a lock; a block is a line that is not indented and those below it."""
    return [
        Pin(
            name=canonicalize_name(block["name"]),
            version=block["version"],
            hashes=re.findall(r"--hash=sha256:[0-9a-f]{64}\b", block["rest"]),
            asked_for_by_us="trade-engine (pyproject.toml" in block["rest"],
        )
        for block in re.finditer(
            r"^(?P<name>[\w.-]+)==(?P<version>[\w.]+)(?P<rest>.*\n(?:[ ]+.*\n)*)",
            (ROOT / lock).read_text(),
            re.MULTILINE,
        )
    ]


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_pins_every_package_by_hash(lock: str) -> None:
    found = pins(lock)
    lines = [line for line in (ROOT / lock).read_text().splitlines() if line[:1] not in (" ", "#")]
    assert len(found) == len(lines), "a line of the lock is no pin"
    assert [pin.name for pin in found if not pin.hashes] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_names_no_index_host_or_path(lock: str) -> None:
    assert not re.search(r"https?:|file:|index-url|find-links|@|(^|\s)/", (ROOT / lock).read_text())


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_follows_pyproject(lock: str) -> None:
    found = pins(lock)
    wanted = {canonicalize_name(requirement.name) for requirement in LOCKS[lock]}
    assert {pin.name for pin in found if pin.asked_for_by_us} == wanted, "run `make lock`"
    stale = [
        f"{pin.name}=={pin.version} is not {requirement}"
        for requirement in LOCKS[lock]
        for pin in found
        if pin.name == canonicalize_name(requirement.name)
        and not requirement.specifier.contains(pin.version, prereleases=True)
    ]
    assert stale == [], "run `make lock`"


def test_lock_for_development_holds_what_runs() -> None:
    running = {(pin.name, pin.version) for pin in pins("requirements.lock")}
    assert running <= {(pin.name, pin.version) for pin in pins("requirements-dev.lock")}


@pytest.mark.parametrize("requirement", RUN + DEMO + group("dev"), ids=str)
def test_every_dependency_has_a_floor(requirement: Requirement) -> None:
    assert [spec.operator for spec in requirement.specifier] == [">="]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist from the checkout, and the wheel from the sdist; return their folder."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def files_below(folder: Path) -> set[str]:
    """Return the files below a folder, relative to its parent, less what Python leaves behind."""
    return {
        path.relative_to(folder.parent).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_wheel_holds_the_package_and_the_migrations_and_nothing_else(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    migrations = {f"trade_engine/{name}" for name in files_below(ROOT / "migrations")}
    assert "trade_engine/migrations/env.py" in migrations
    assert names == files_below(PACKAGE) | migrations | {"trade_engine/examples/moving_average.py"}
    kinds = {name.rsplit(".", 1)[-1] for name in names}
    assert {"py", "pyi", "typed", "lua", "toml"} <= kinds


def test_wheel_holds_no_machine_code_and_no_path_of_this_machine(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*-py3-none-any.whl"))) as wheel:
        for name in wheel.namelist():
            content = wheel.read(name)
            assert not content.startswith(b"\x7fELF"), name
            assert str(ROOT).encode() not in content, name


def test_sdist_holds_what_building_testing_and_changing_need(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        names = {name.split("/", 1)[1] for name in sdist.getnames()}
    for folder in ("trade_engine", "migrations", "proto", "tests", "bench", "docs"):
        assert files_below(ROOT / folder) <= names
    assert {"LICENSE", "README.md", "Makefile", "pyproject.toml", "buf.yaml", *LOCKS} <= names


def imports(folder: Path) -> set[tuple[str, str]]:
    """Return (file, top-level module) of every import below a folder."""
    found: set[tuple[str, str]] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {(str(path), alias.name.split(".")[0]) for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add((str(path), (node.module or "").split(".")[0]))
    return found


def test_domain_imports_the_standard_library_alone() -> None:
    modules = {module for _, module in imports(PACKAGE / "domain")}
    assert modules - sys.stdlib_module_names <= {"trade_engine"}


def test_whatever_the_package_imports_is_declared() -> None:
    declared = {canonicalize_name(requirement.name) for requirement in RUN + DEMO}
    makers = packages_distributions()
    undeclared = {
        (path, module)
        for path, module in imports(PACKAGE)
        if module not in sys.stdlib_module_names | {"trade_engine"}
        and declared.isdisjoint(map(canonicalize_name, makers.get(module, [])))
    }
    assert undeclared == set()


def test_every_package_says_what_it_holds() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    for folder in sorted(folders):
        docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
        assert docstring, folder


def test_make_explains_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert len(targets) > 1
    help_text = subprocess.run(
        ["make"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for target in targets:
        assert f"  make {target} " in help_text
