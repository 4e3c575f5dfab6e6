"""The rules of the house hold in every file, and importing the packages has no effect."""

import json
import subprocess
import sys
import tomllib

import pytest

from tests.architecture import PACKAGE_RULES, PACKAGES, ROOT, TEST_RULES, Rule, machine_paths, modules

EXEMPTIONS = {
    ("functions_nest_little", "planners/evaluation/open_loop.py"),  # one try around the engine's `with`
    # Reads what a checkpoint was trained on, for both evaluation commands.
    ("only_commands_join_packages", "planners/evaluation/training_levels.py"),
}
"""Rule and file, with the reason; the list may only shrink, so one that is not needed fails."""

UNTESTED = {
    "envs.doom_game": "through envs.doom_engine",
    "envs.solid_things": "a table; through envs.level_geometry",
    "planners.evaluation.cards": "through planners.evaluation.report",
    "planners.evaluation.explanations": "through planners.evaluation.report",
}
"""Modules that no test names, and how they are tested; the list may only shrink."""


@pytest.mark.parametrize("rule", PACKAGE_RULES, ids=lambda rule: rule.__name__)
def test_packages_obey(rule: Rule):
    complaints = {str(module.path): rule(module) for module in modules(*PACKAGES)}
    exempted = {path for name, path in EXEMPTIONS if name == rule.__name__}
    assert {path: found for path, found in complaints.items() if found and path not in exempted} == {}
    assert {path for path in exempted if not complaints.get(path)} == set(), "exemptions no longer needed"


@pytest.mark.parametrize("rule", TEST_RULES, ids=lambda rule: rule.__name__)
def test_tests_obey(rule: Rule):
    complaints = {str(module.path): rule(module) for module in modules("tests")}
    assert {path: found for path, found in complaints.items() if found} == {}


def test_no_configuration_or_document_names_a_place_on_somebodys_machine():
    paths = [ROOT / "README.md", ROOT / "Makefile", ROOT / "pyproject.toml"]
    paths += [path for package in PACKAGES for path in (ROOT / package).rglob("*.yaml")]
    found = {str(path): machine_paths(path.read_text(encoding="utf-8")) for path in paths}
    assert {path: lines for path, lines in found.items() if lines} == {}


def test_the_wheel_holds_every_file_that_is_no_module():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]
    for package in PACKAGES:
        files = {path for path in (ROOT / package).rglob("*") if path.is_file()}
        needed = {path for path in files if path.suffix not in {".py", ".pyc"}}
        packed = {path for pattern in patterns.get(package, []) for path in (ROOT / package).glob(pattern)}
        assert needed <= packed, package


def test_every_module_is_named_by_a_test():
    named = {name for module in modules("tests") for name in module.imports}
    own = {module.name for module in modules(*PACKAGES) if module.path.name != "__init__.py"}
    assert own - named == set(UNTESTED)


def test_data_and_training_import_without_simulator_ray_and_report():
    blocked = "ray,vizdoom,gymnasium,evo,imageio,matplotlib,pyarrow"
    assert_import_has_no_effect(blocked, "data_tools", "worldmodel")


def test_environments_and_evaluation_import_without_ray_and_report():
    assert_import_has_no_effect("ray,imageio,matplotlib", "envs", "planners")


def assert_import_has_no_effect(blocked: str, *packages: str) -> None:
    """Import all modules in a fresh process: nothing is printed, no device or log handler is chosen."""
    names = [module.name for module in modules(*packages)]
    command = [sys.executable, "-m", "tests.import_probe", blocked, *names]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == {
        "said": {},
        "has_cuda_context": False,
        "default_device": "cpu",
        "default_dtype": "torch.float32",
        "num_log_handlers": 0,
    }
