"""Architecture: the rules of the house that no linter knows, as functions from a module to complaints."""

import ast
import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("data_tools", "worldmodel", "envs", "planners")

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_ARGUMENTS = 7
MAX_NESTING = 3

MACHINE_PATH = re.compile(r"(?<![\w.~-])/(home|root|Users|mnt|tmp|work|scratch|workspace)/\w")
"""A place on somebody's machine; ~/.cache and relative paths are none."""

GLOBAL_SEEDS = {"manual_seed", "manual_seed_all", "set_state", "seed"}
TORCH_DRAWS = {"rand", "randn", "randint", "randperm", "normal", "multinomial", "bernoulli", "rand_like"}
TORCH_DRAWS |= {"randn_like", "randint_like", "normal_", "uniform_", "exponential_", "random_", "dropout"}


@dataclass(frozen=True)
class Module:
    """A source file, parsed."""

    path: Path
    source: str
    tree: ast.Module

    @classmethod
    @functools.cache
    def read(cls, path: Path) -> "Module":
        """Parse a file of the repository."""
        return cls.parse(path.relative_to(ROOT), path.read_text(encoding="utf-8"))

    @classmethod
    def parse(cls, path: Path, source: str) -> "Module":
        """Take a source as that of a file."""
        return cls(path, source, ast.parse(source))

    @property
    def name(self) -> str:
        """The name it is imported by."""
        return ".".join(self.path.with_suffix("").parts).removesuffix(".__init__")

    @property
    def package(self) -> str:
        """The first part of its name."""
        return self.path.parts[0]

    @property
    def is_command(self) -> bool:
        """Whether `python -m` runs it."""
        return any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in self.tree.body)

    @property
    def functions(self) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
        """All functions and methods, nested ones too."""
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
        return [node for node in ast.walk(self.tree) if isinstance(node, kinds)]

    @property
    def imports(self) -> list[str]:
        """Names of the modules it imports anywhere; `from a import b` names a and a.b."""
        names: list[str] = []
        for node in ast.walk(self.tree):
            match node:
                case ast.Import():
                    names += [alias.name for alias in node.names]
                case ast.ImportFrom(module=str(module)):
                    names += [module, *(f"{module}.{alias.name}" for alias in node.names)]
                case _:
                    pass
        return names

    @property
    def calls(self) -> list[tuple[str, ast.Call]]:
        """Every call, with what is called as source text."""
        nodes = (node for node in ast.walk(self.tree) if isinstance(node, ast.Call))
        return [(ast.unparse(node.func), node) for node in nodes]


Rule = Callable[[Module], list[str]]


def modules(*folders: str) -> list[Module]:
    """Read all modules below folders of the repository, but for the files that are bad on purpose."""
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return [Module.read(path) for path in paths if "lint_fixtures" not in path.parts]


def only_commands_join_packages(module: Module) -> list[str]:
    """`data_tools` imports none of ours, the others `data_tools` and their own; commands may join all."""
    allowed = {module.package, "data_tools"}
    if module.is_command and module.package != "data_tools":
        allowed |= set(PACKAGES)
    foreign = {name.split(".")[0] for name in module.imports} & {*PACKAGES, "tests"} - allowed
    return [f"imports {name}; only command files (with a main) join packages" for name in sorted(foreign)]


def no_relative_imports(module: Module) -> list[str]:
    """Imports name the package, so that they can be searched for and checked."""
    nodes = (node for node in ast.walk(module.tree) if isinstance(node, ast.ImportFrom))
    return [f"line {node.lineno}: relative import" for node in nodes if node.level]


def files_are_short(module: Module) -> list[str]:
    """At most 400 lines."""
    num_lines = len(module.source.splitlines())
    return [f"{num_lines} lines; the limit is {MAX_FILE_LINES}"] if num_lines > MAX_FILE_LINES else []


def functions_are_short(module: Module) -> list[str]:
    """At most 60 lines without the docstring."""
    lengths = {function.name: _num_lines(function) for function in module.functions}
    return [
        f"{name} has {length} lines; the limit is {MAX_FUNCTION_LINES}"
        for name, length in lengths.items()
        if length > MAX_FUNCTION_LINES
    ]


def functions_take_few_arguments(module: Module) -> list[str]:
    """At most 7, not counting self; then a frozen dataclass."""
    counts = {function.name: len(_arguments(function)) for function in module.functions}
    return [
        f"{name} takes {count} arguments; the limit is {MAX_ARGUMENTS}"
        for name, count in counts.items()
        if count > MAX_ARGUMENTS
    ]


def functions_nest_little(module: Module) -> list[str]:
    """At most three blocks deep."""
    depths = {function.name: _depth(function.body) for function in module.functions}
    return [
        f"{name} nests {depth} deep; the limit is {MAX_NESTING}"
        for name, depth in depths.items()
        if depth > MAX_NESTING
    ]


def init_files_only_export(module: Module) -> list[str]:
    """A docstring and re-exports of the package's own; `envs` registers its ids with Gymnasium besides."""
    if module.path.name != "__init__.py":
        return []
    return [
        f"line {node.lineno}: {ast.unparse(node)[:60]}; an __init__.py holds a docstring and re-exports"
        for node in module.tree.body
        if not _may_stand_in_init(node, module)
    ]


def randomness_comes_in(module: Module) -> list[str]:
    """Streams are made in `data_tools.randomness` and in commands; nothing draws from a global one."""
    complaints = []
    makes_streams = module.is_command or module.name == "data_tools.randomness"
    for called, node in module.calls:
        head, _, last = called.rpartition(".")
        is_stream = last in {"default_rng", "Generator", "manual_seed"} and (node.args or node.keywords)
        is_seed = last in GLOBAL_SEEDS and head in {"torch", "torch.cuda", "random", "np.random"}
        is_numpy = head in {"np.random", "numpy.random"} and last not in {"Generator"}
        if is_seed or head == "random" or (is_numpy and not (makes_streams and is_stream)):
            complaints.append(f"line {node.lineno}: {called}; take a generator instead")
        elif last == "manual_seed" and not makes_streams:
            complaints.append(f"line {node.lineno}: {called}; use data_tools.randomness.generator_for")
        elif _draws_unseeded(head, last, node):
            complaints.append(f"line {node.lineno}: {called} without generator=")
    return complaints


def annotations_are_objects(module: Module) -> list[str]:
    """No `from __future__ import annotations`: the shape checks of the tests need the objects."""
    return ["from __future__ import annotations"] if "__future__.annotations" in module.imports else []


def paths_are_nobodys(module: Module) -> list[str]:
    """No absolute paths of one machine."""
    return machine_paths(module.source)


def machine_paths(text: str) -> list[str]:
    """Return the lines of a text that name a place on somebody's machine."""
    lines = enumerate(text.splitlines(), start=1)
    return [f"line {number}: {line.strip()[:80]}" for number, line in lines if MACHINE_PATH.search(line)]


PACKAGE_RULES: tuple[Rule, ...] = (
    only_commands_join_packages,
    no_relative_imports,
    files_are_short,
    functions_are_short,
    functions_take_few_arguments,
    functions_nest_little,
    init_files_only_export,
    randomness_comes_in,
    annotations_are_objects,
    paths_are_nobodys,
)
"""What the four packages obey."""

TEST_RULES: tuple[Rule, ...] = (
    no_relative_imports,
    files_are_short,
    functions_are_short,
    annotations_are_objects,
    paths_are_nobodys,
)
"""What tests obey too."""


def _num_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    docstring = function.body[0] if ast.get_docstring(function) else None
    skipped = 0 if docstring is None else _end(docstring) - docstring.lineno + 1
    return _end(function) - function.lineno + 1 - skipped


def _end(node: ast.stmt) -> int:
    assert node.end_lineno is not None
    return node.end_lineno


def _arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    own = function.args
    given = [*own.posonlyargs, *own.args, *own.kwonlyargs, own.vararg, own.kwarg]
    return [each.arg for each in given if each is not None and each.arg not in {"self", "cls"}]


def _depth(statements: list[ast.stmt]) -> int:
    return max((_depth_of(statement) for statement in statements), default=0)


def _depth_of(statement: ast.stmt) -> int:
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return 0  # counted by itself
    blocks = list(_blocks(statement))
    return 1 + max(_depth(block) for block in blocks) if blocks else 0


def _blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    """Yield the blocks inside a statement; those of `elif` and of cases count as blocks of their `if`."""
    match statement:
        case ast.If(body=body, orelse=orelse):
            yield body
            is_elif = len(orelse) == 1 and isinstance(orelse[0], ast.If)
            yield from _blocks(orelse[0]) if is_elif else [orelse]
        case ast.For(body=body, orelse=orelse) | ast.While(body=body, orelse=orelse):
            yield from (body, orelse)
        case ast.With(body=body):
            yield body
        case ast.Try(body=body, handlers=handlers, orelse=orelse, finalbody=final):
            yield from (body, orelse, final, *(handler.body for handler in handlers))
        case ast.Match(cases=cases):
            yield from (case.body for case in cases)
        case _:
            pass


def _may_stand_in_init(node: ast.stmt, module: Module) -> bool:
    match node:
        case ast.Expr(value=ast.Constant(value=str())):
            return True
        case ast.Import(names=[ast.alias(name="gymnasium")]):
            return module.name == "envs"
        case ast.Expr(value=ast.Call(func=func)):
            return module.name == "envs" and ast.unparse(func) == "gymnasium.register"
        case ast.ImportFrom(module=str(imported)):
            return imported.startswith(module.name)
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return True
        case _:
            return False


def _draws_unseeded(head: str, last: str, node: ast.Call) -> bool:
    is_torch = head in {"torch", "F", "torch.nn.functional"} or (last.endswith("_") and bool(head))
    given = {keyword.arg for keyword in node.keywords}
    return is_torch and last in TORCH_DRAWS and "generator" not in given
