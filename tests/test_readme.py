"""What the README shows works: its examples run and print what they say, its commands exist."""

import importlib.util
import re

from tests.architecture import PACKAGES, ROOT, modules

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_examples_run_and_print_what_they_say(capsys):
    """The last comment of a printing line ends in what is printed, after a colon."""
    examples = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert examples
    for example in examples:
        exec(compile(example, "README.md", "exec"), {})
        said = re.findall(r"^print\(.*#.*?: (.*)$", example, flags=re.MULTILINE)
        assert capsys.readouterr().out.splitlines() == said


def test_commands_exist():
    commands = set(re.findall(r"python -m ([\w.]+)", README))
    assert commands
    assert {name for name in commands if importlib.util.find_spec(name) is None} == set()


def test_the_tree_names_every_module_and_nothing_else():
    found: set[str] = set()
    folders: list[str] = []
    for line in README.split("## The tree")[1].strip("`\n ").splitlines():
        depth, name = (len(line) - len(line.lstrip())) // 4, line.split()[0]
        folders[depth:] = [name.rstrip("/")]
        found |= {"/".join(folders)} if name.endswith(".py") else set()
    own = {module.path.as_posix() for module in modules(*PACKAGES) if module.path.name != "__init__.py"}
    assert found == own


def test_linked_files_exist():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []
