"""Table: the arms of one comparison, and the pretraining run that each of them stands for with each seed."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import MISSING

import worldmodel.pretrain  # makes its schema known to Hydra  # noqa: F401
from data_tools.config import to_dict, to_object
from worldmodel.ablation.measures import MeasureConfig
from worldmodel.model_folder import SHIPPED
from worldmodel.pretrain_config import PretrainConfig

CONFIGURATIONS = Path(__file__).parent.parent / "conf"
ROW_VERSION = 1
"""Counted up when measures change their meaning: rows of before are not taken for rows of today."""


class Named(Enum):
    """Representations that an arm can ask for; the command says in which folder each of them is."""

    rae = "rae"
    vae = "vae"
    pixels = "pixels"
    dual = "dual"


@dataclass(frozen=True, kw_only=True)
class Representations:
    """Folders of trained representations; None where no arm needs one."""

    rae: str | None = None
    """None takes that of the model that ships."""
    vae: str | None = None
    pixels: str | None = None
    dual: str | None = None

    def folder(self, name: Named) -> Path:
        """Return where a representation is; ValueError if nobody said it."""
        found = getattr(self, name.value)
        if found is None and name is Named.rae:
            return SHIPPED / "nano"
        if found is None:
            raise ValueError(
                f"an arm needs the representation {name.value}, and no folder of it was given; add "
                f"representations.{name.value}=FOLDER, or leave such arms out with arms=[...]"
            )
        return Path(found)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One setting of a comparison: what it changes in a pretraining run."""

    name: str = MISSING
    overrides: list[str] = field(default_factory=list)
    """As on the command line of `worldmodel.pretrain`."""
    representation: Named = Named.rae


@dataclass(frozen=True, kw_only=True)
class TableConfig:
    """One comparison; the first arm is the one that the others are held against."""

    name: str = MISSING
    question: str = MISSING
    """What the table is to answer, one sentence."""
    base: list[str] = field(default_factory=list)
    """Overrides of all arms."""
    arms: list[Arm] = field(default_factory=list)
    measures: list[str] = field(default_factory=list)
    """What is shown, in this order; rows hold more."""
    limits: list[str] = field(default_factory=list)
    """What the table cannot say, sentence by sentence, beside what holds for all tables."""
    full_weight: float | None = None
    """Sum of the mixture's four weights for which an arm gets all tokens; one of less gets as many fewer, so
    that each kind of data has the same tokens in all arms. None: all arms get all tokens."""

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        if len(set(names)) != len(names):
            raise ValueError(f"the arms of table {self.name} need names of their own, got {names}")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long arms are trained: exactly one of the two.

    Tokens are those of documents, without padding; an arm that `full_weight` gives fewer gets as many fewer
    steps.
    """

    num_tokens: int | None = None
    num_steps: int | None = None

    def __post_init__(self) -> None:
        if (self.num_tokens is None) == (self.num_steps is None) or min(
            self.num_tokens or 1, self.num_steps or 1
        ) < 1:
            raise ValueError(
                f"needed either num_tokens or num_steps, at least 1; got num_tokens={self.num_tokens} and "
                f"num_steps={self.num_steps}"
            )

    def times(self, share: float) -> "Budget":
        """Return a share of the budget, at least one token or step."""
        if self.num_steps is not None:
            return Budget(num_steps=max(1, round(self.num_steps * share)))
        assert self.num_tokens is not None
        return Budget(num_tokens=max(1, round(self.num_tokens * share)))


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What the runs of a table have in common."""

    table: TableConfig
    budget: Budget
    data: str
    text: str
    representations: Representations
    preset: str
    overrides: list[str]
    """Of all arms, after their own."""
    measure: MeasureConfig


@dataclass(frozen=True, kw_only=True)
class Run:
    """One arm with one seed: all that a worker needs to make its row."""

    table: str
    arm: str
    seed: int
    config: PretrainConfig
    budget: Budget
    measure: MeasureConfig
    config_hash: str

    @property
    def name(self) -> str:
        """Name of the row's file."""
        return f"{self.table}.{self.arm}.seed{self.seed}"


def runs_of(setting: Setting, *, seeds: list[int], arms: list[str] | None = None) -> list[Run]:
    """Return the runs of a table, seed by seed: what is stopped early has few seeds of all arms.

    Args:
        setting: The table and what its runs have in common.
        seeds: One run of each arm for each.
        arms: Names of the arms to run; None for all.

    Returns:
        The runs; their `out` is not set.

    Raises:
        ValueError: For unknown arms, and for arms that this version cannot configure.
    """
    known = {arm.name: arm for arm in setting.table.arms}
    chosen = list(known) if arms is None else arms
    if unknown := [name for name in chosen if name not in known]:
        raise ValueError(f"table {setting.table.name} has the arms {list(known)}, got {unknown}")
    return [_run(setting, known[name], seed) for seed in seeds for name in chosen]


def _run(setting: Setting, arm: Arm, seed: int) -> Run:
    config = _composed(setting, arm, seed)
    share = 1.0
    if setting.table.full_weight is not None:
        mixture = config.mixture
        given = mixture.text + mixture.image_text + mixture.video + mixture.action
        share = given / setting.table.full_weight
        if share > 1 + 1e-9:
            raise ValueError(
                f"arm {arm.name} has mixture weights of {given} in all, more than full_weight="
                f"{setting.table.full_weight}; raise that, so that it is those of the arm with all data"
            )
    budget = setting.budget.times(share)
    content = {
        "version": ROW_VERSION,
        "config": {
            name: value
            for name, value in to_dict(config).items()
            if name not in ("data", "text", "representation", "out", "num_threads", "num_steps")
        },
        "representation": digest_of(Path(config.representation)),
        "budget": dataclasses.asdict(budget),
        "measure": dataclasses.asdict(setting.measure),
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    return Run(
        table=setting.table.name,
        arm=arm.name,
        seed=seed,
        config=config,
        budget=budget,
        measure=setting.measure,
        config_hash=digest,
    )


def _composed(setting: Setting, arm: Arm, seed: int) -> PretrainConfig:
    paths = ["data=d", "text=t", "representation=r", "out=o"]
    overrides = [f"preset={setting.preset}", *setting.table.base, *arm.overrides, *setting.overrides]
    with _composing():
        try:
            node = compose("pretrain", overrides=[*paths, *overrides])
        except HydraException as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise ValueError(
                f"arm {arm.name} of table {setting.table.name} is no pretraining run of this version: "
                f"{reason}; leave it out with arms=[...]"
            ) from error
    return replace(
        to_object(node, PretrainConfig),
        data=setting.data,
        text=setting.text,
        representation=str(setting.representations.folder(arm.representation)),
        seed=seed,
        num_threads=1,
    )


@contextmanager
def _composing() -> Iterator[None]:
    """Let Hydra compose a configuration of ours, whether or not it has started this command and is in use."""
    hydra = GlobalHydra.instance()
    outer = hydra.hydra
    hydra.clear()
    try:
        with initialize_config_dir(str(CONFIGURATIONS), version_base=None):
            yield
    finally:
        hydra.hydra = outer


def digest_of(folder: Path) -> str:
    """Return a hash of a folder's representation: of the files named so, or of all where none is."""
    files = [path for path in sorted(folder.glob("*")) if path.is_file()]
    chosen = [path for path in files if path.name.startswith("representation")] or files
    if not chosen:
        raise FileNotFoundError(f"{folder} holds no representation; give the folder of a trained one")
    digest = hashlib.sha256()
    for path in chosen:
        digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]
