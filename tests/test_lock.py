"""The locked versions are those of what the project declares, and name no index."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
LOCKED = {canonicalize_name(n): v for n, v in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", LOCK, re.MULTILINE)}
EXTRAS = {name: [Requirement(r) for r in said] for name, said in PROJECT["project"]["optional-dependencies"].items()}
TEST_EXTRAS = sorted(next(r for r in EXTRAS["test"] if r.name == "distask").extras)
DECLARED = [
    *map(Requirement, PROJECT["project"]["dependencies"]),
    *(requirement for name in ("test", *TEST_EXTRAS) for requirement in EXTRAS[name]),
]


@pytest.mark.parametrize("requirement", [r for r in DECLARED if r.name != "distask"], ids=lambda r: r.name)
def test_what_is_declared_is_locked_at_a_version_that_fits(requirement):
    """A dependency that is declared and not locked is missing from every fresh environment that the lock makes."""
    locked = LOCKED.get(canonicalize_name(requirement.name))

    assert locked is not None, f"{requirement.name} is not in requirements.lock"
    assert requirement.specifier.contains(locked)


def test_what_alpine_linux_has_no_wheel_of_is_optional():
    """`pip install distask` would try to build it there."""
    assert "google-re2" not in {canonicalize_name(Requirement(r).name) for r in PROJECT["project"]["dependencies"]}
    assert "re2" in TEST_EXTRAS


def test_every_dependency_has_a_lower_and_an_upper_bound():
    for requirement in DECLARED:
        if requirement.name == "distask":
            continue
        operators = {s.operator for s in requirement.specifier}
        assert operators & {">=", "==", "~="}, f"{requirement} has no lower bound"
        assert operators & {"<", "==", "~="}, f"{requirement} has no upper bound"


def test_the_lock_names_no_index_and_every_version_has_a_hash():
    assert "://" not in LOCK
    assert not re.findall(r"^[^\s#].*==[^\\]*$", LOCK, re.MULTILINE)
