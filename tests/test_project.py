"""The project's files agree with each other: one list of versions, one Python, and no address of any registry."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.+!_-]*")
REGISTRY = re.compile(
    r"index[_-]url|find[_-]links|pypi\.org/simple|pythonhosted\.org|conda\.anaconda\.org|registry\.npmjs|/api/pypi/",
    re.IGNORECASE,
)


def pins():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def environment():
    return yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]


def pyproject():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def project_files():
    """All files that are, or could be, committed."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [path for name in listed.splitlines() if (path := ROOT / name).is_file() and path != Path(__file__)]


def normalized(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_requirements_are_exact_versions_and_nothing_else():
    assert [line for line in pins() if not PIN.fullmatch(line)] == []


def test_every_package_is_pinned_once():
    names = [normalized(line.split("==")[0]) for line in pins()]
    assert len(set(names)) == len(names)


ACCELERATORS = {"cuda", "tpu", "plan-gpu", "plan-tpu"}
"""Groups that are not installed here: they are for other machines, and several gigabytes."""

PINNED_ON_THEIR_OWN = {"harness"}
"""Groups that hardly anybody needs: their versions stand in pyproject.toml."""


def test_every_direct_dependency_is_pinned():
    project = pyproject()["project"]
    optional = project["optional-dependencies"]
    groups = [
        project["dependencies"],
        *(lines for name, lines in optional.items() if name not in ACCELERATORS | PINNED_ON_THEIR_OWN),
    ]
    direct = {normalized(re.split(r"[<>=!~\[; ]", line)[0]) for group in groups for line in group}
    assert direct - {normalized(line.split("==")[0]) for line in pins()} == set()


def test_what_is_not_in_the_list_of_pins_is_pinned_where_it_stands():
    optional = pyproject()["project"]["optional-dependencies"]
    assert [line for name in PINNED_ON_THEIR_OWN for line in optional[name] if not PIN.fullmatch(line)] == []


def test_accelerators_come_as_extras_of_the_pinned_jax():
    """jax names the plugin of its own version, so one pin decides both."""
    optional = pyproject()["project"]["optional-dependencies"]
    assert set(optional) >= ACCELERATORS
    assert all(re.fullmatch(r"jax\[[a-z0-9-]+\]", line) for name in ACCELERATORS for line in optional[name])


def test_conda_installs_the_same_versions_as_pip():
    python, pip, nested = environment()
    assert (python, pip) == ("python=3.12", "pip")
    assert nested == {"pip": pins()}


def test_python_has_one_version_everywhere():
    version = (ROOT / ".python-version").read_text().strip()
    assert environment()[0] == f"python={version}"
    assert pyproject()["project"]["requires-python"] == f">={version}"
    assert pyproject()["tool"]["mypy"]["python_version"] == version
    assert pyproject()["tool"]["ruff"]["target-version"] == "py" + version.replace(".", "")


def test_no_project_file_names_a_registry():
    """Where packages come from is the user's own setting, of pip or conda."""
    own = [value for name, value in os.environ.items() if name.endswith(("INDEX_URL", "DEFAULT_INDEX")) and value]
    found = []
    for path in project_files():
        text = path.read_text(encoding="utf-8", errors="ignore")
        found += [(path.relative_to(ROOT), m.group()) for m in REGISTRY.finditer(text)]
        found += [(path.relative_to(ROOT), url) for url in own if url in text]
    assert found == []


def test_no_test_file_hides_another_of_the_same_name():
    """The tests are no packages, so pytest tells them apart by file name only."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))
