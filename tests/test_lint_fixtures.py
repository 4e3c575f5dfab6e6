"""Each tool refuses the file that is bad on purpose: a check that has never failed is not a check."""

import importlib
import json
import subprocess
import sys
import warnings
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch

from planners.costs import latent_cost
from tests.architecture import PACKAGE_RULES, ROOT, Module, machine_paths

FIXTURES = ROOT / "tests" / "lint_fixtures"
BIN = Path(sys.executable).parent


def refuse(*command: str, given: Path | None = None) -> str:
    """Run a tool in the repository, demand that it fails, and return what it said."""
    text = None if given is None else given.read_text(encoding="utf-8")
    run = subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        cwd=ROOT,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.returncode == 1, run.stdout + run.stderr
    return run.stdout + run.stderr


def test_ruff_refuses_each_family_of_faults():
    # Under the name of a file of a package, since tests are excused from some.
    command = ("ruff", "check", "--no-cache", "--output-format=json", "--stdin-filename=planners/bad.py", "-")
    faults = json.loads(refuse(*command, given=FIXTURES / "rejected_by_ruff.py"))
    found = {fault["code"] for fault in faults}
    expected = {"E501", "E711", "F401", "I001", "B006", "UP006", "D100", "D103", "C901", "PLR0911", "RUF005"}
    assert expected | {"PLR0913"} <= found, found


def test_ruff_refuses_the_format():
    assert "would be reformatted" in refuse(
        "ruff", "format", "--no-cache", "--check", "tests/lint_fixtures/rejected_by_format.py"
    )


def test_pydoclint_refuses_incomplete_sections():
    said = refuse("pydoclint", "tests/lint_fixtures/rejected_by_pydoclint.py")
    for function, code in [("scale", "DOC101"), ("halve", "DOC201"), ("Box.__init__", "DOC103")]:
        assert any(code in line and f"`{function}`" in line for line in said.splitlines()), said


def test_pyright_refuses_forgotten_cases_and_wrong_types():
    """The fixtures' configuration extends the repository's."""
    report = json.loads(refuse("pyright", "--outputjson", "-p", "tests/lint_fixtures/pyrightconfig.json"))
    found = {fault["rule"] for fault in report["generalDiagnostics"]}
    assert {"reportMatchNotExhaustive", "reportArgumentType", "reportOptionalMemberAccess"} <= found


def test_shape_checks_refuse_untrue_annotations():
    name = "tests.lint_fixtures.rejected_by_shape_checks"
    with jaxtyping.install_import_hook(name, "beartype.beartype"):
        bad = importlib.import_module(name)
    with pytest.raises(jaxtyping.TypeCheckError, match="return value"):
        bad.halves(np.zeros((2, 3), np.float32))
    with pytest.raises(jaxtyping.TypeCheckError, match="parameter"):
        bad.halves(np.zeros((2, 3)))
    with pytest.raises(jaxtyping.TypeCheckError, match="return value"):
        bad.first(torch.zeros(2, 3, 5))
    with pytest.raises(jaxtyping.TypeCheckError, match="parameter"):
        bad.turn(90)


def test_shape_checks_are_on_in_our_packages():
    with pytest.raises(jaxtyping.TypeCheckError, match="goal"):
        latent_cost(torch.zeros(2, 3, 5, 7), torch.zeros(2, 3, 5, 6))


def test_a_warning_is_an_error():
    with pytest.raises(UserWarning, match="careful"):
        warnings.warn("careful", stacklevel=1)


@pytest.mark.parametrize("rule", PACKAGE_RULES, ids=lambda rule: rule.__name__)
def test_architecture_refuses(rule):
    if rule.__name__ == "init_files_only_export":
        path = Path("planners/__init__.py")
    else:
        path = Path("planners/rejected.py")
    source = (FIXTURES / "rejected_by_architecture.py").read_text(encoding="utf-8")
    if rule.__name__ == "files_are_short":
        source += "\n" * 400
    assert rule(Module.parse(path, source))


def test_architecture_refuses_every_global_stream():
    [rule] = [rule for rule in PACKAGE_RULES if rule.__name__ == "randomness_comes_in"]
    path = Path("planners/rejected.py")
    source = (FIXTURES / "rejected_by_architecture.py").read_text(encoding="utf-8")
    calls = (
        "torch.manual_seed",
        "np.random.seed",
        "default_rng",
        "torch.randn",
        "Generator()",
        "random.random",
    )
    complaints = rule(Module.parse(path, source))
    for call in (*calls, "np.random.normal"):
        assert any(call in complaint for complaint in complaints), call


def test_data_tools_may_import_none_of_ours_not_even_in_commands():
    [rule] = [rule for rule in PACKAGE_RULES if rule.__name__ == "only_commands_join_packages"]
    source = "import planners.cem\n\ndef main(): ...\n"
    assert rule(Module.parse(Path("data_tools/rejected.py"), source))
    assert not rule(Module.parse(Path("worldmodel/accepted.py"), source))
    assert rule(Module.parse(Path("worldmodel/rejected.py"), source.replace("main", "other")))


def test_places_on_somebodys_machine_are_found_and_others_are_not():
    place = "/".join(("", "home", "somebody", "data"))  # spelled so that this file names none
    assert machine_paths(f"see {place}, and\nnothing") == [f"line 1: see {place}, and"]
    assert machine_paths("~/.cache/x data/home/y https://example.org/home/z and/or") == []
