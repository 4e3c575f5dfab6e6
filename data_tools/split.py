"""Split of a folder of recordings into training and test, as files of names that NWM's code reads too.

Usage: python -m data_tools.split data=FOLDER out=FOLDER by=trajectory|place|region held_out_fraction=0.2

    <out>/train/traj_names.txt    names of trajectories in `data`; by region, of those in this folder
          test/traj_names.txt
          split.json              what was asked, of which recordings, and what came out
          train/<name>_<start>_<stop>/   by region alone: the stretches, cut out
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path

import hydra
from omegaconf import MISSING, DictConfig
from rich.progress import track

from data_tools.config import store, to_dict, to_object
from data_tools.data_folder import open_data
from data_tools.evaluation_index import name_trajectories
from data_tools.fingerprint import fingerprint
from data_tools.places import find_places, split_by_places
from data_tools.provenance import current_commit, installed_versions
from data_tools.regions import RegionConfig, split_by_region
from data_tools.splits import Split, split_by_trajectory
from data_tools.stretches import Stretch, cut
from data_tools.trajectory import Trajectory, read_trajectory, write_trajectory
from data_tools.whole_file import write_text
from data_tools.world_frame import WorldFrame

NAMES_FILE = "traj_names.txt"


class SplitBy(Enum):
    """What is never on both sides."""

    trajectory = "trajectory"
    place = "place"
    region = "region"


@dataclass(frozen=True, kw_only=True)
class SplitCommand:
    """What is split, and how."""

    data: str = MISSING
    """Folder of trajectories."""
    out: str = MISSING
    by: SplitBy = SplitBy.trajectory
    seed: int = 0
    held_out_fraction: float = 0.2
    """By trajectory of them, on average; by place and region of frames."""
    period_s: float | None = None
    """Time between frames [s] of folders that hold no times, as NWM's (0.25)."""
    frame: WorldFrame = WorldFrame.by_place
    """Whose positions can be compared, by place and region."""
    radius_m: float = 5.0
    """By place: trajectories that come so near to one another share a place."""
    region: RegionConfig = field(default_factory=RegionConfig)


@dataclass(frozen=True, kw_only=True)
class SplitNames:
    """What came out: names of both sides, and what else is worth knowing."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    details: Mapping[str, object]


def make_split(command: SplitCommand) -> SplitNames:
    """Split as configured, and write the result; names come last, so that they name nothing missing."""
    out, trajectories = Path(command.out), open_data(Path(command.data), period_s=command.period_s)
    located = [each for each in trajectories if each.poses is not None]
    match command.by:
        case SplitBy.trajectory:
            names = _named(
                split_by_trajectory(
                    trajectories, seed=command.seed, held_out_fraction=command.held_out_fraction
                )
            )
        case SplitBy.place:
            known = trajectories if command.frame is WorldFrame.own else located
            names = _split_places(known, command)
        case SplitBy.region:
            names = _split_regions(located, command, out)
    content = {
        **{"train": names.train, "test": names.test, **names.details},
        "num_left_out": len(trajectories) - len(located) if command.by is not SplitBy.trajectory else 0,
        "provenance": {
            "data_fingerprint": fingerprint(trajectories),
            "settings": to_dict(command),
            "commit": current_commit(),
            "versions": installed_versions(),
        },
    }
    write_text(out / "split.json", json.dumps(content, indent=1) + "\n")
    for side, chosen in (("train", names.train), ("test", names.test)):
        write_text(out / side / NAMES_FILE, "\n".join(chosen) + "\n")
    return names


def _named(split: Split, **details: object) -> SplitNames:
    name_trajectories((*split.train, *split.held_out))
    train, test = (tuple(each.name for each in side) for side in (split.train, split.held_out))
    return SplitNames(train=train, test=test, details=details)


def _split_places(trajectories: Sequence[Trajectory], command: SplitCommand) -> SplitNames:
    places = find_places(trajectories, radius_m=command.radius_m, frame=command.frame)
    split = split_by_places(places, seed=command.seed, held_out_fraction=command.held_out_fraction)
    return _named(split, places=[[each.name for each in place] for place in places])


def _split_regions(trajectories: Sequence[Trajectory], command: SplitCommand, out: Path) -> SplitNames:
    split = split_by_region(
        trajectories,
        config=command.region,
        frame=command.frame,
        seed=command.seed,
        held_out_fraction=command.held_out_fraction,
    )
    by_name = name_trajectories(trajectories)
    sides: dict[str, Sequence[Stretch]] = {"train": split.train, "test": split.held_out}
    parts = [(out / side, stretch) for side, stretches in sides.items() for stretch in stretches]
    _check_leftovers(out, sides)
    for folder, stretch in track(parts, description="cutting out stretches", transient=True):
        _write_once(cut(by_name[stretch.source], stretch), folder)
    details: dict[str, object] = {
        "regions": [asdict(region) for region in split.regions],
        "stretches": {side: [asdict(each) for each in stretches] for side, stretches in sides.items()},
        "num_frames": {
            "train": sum(each.stop - each.start for each in split.train),
            "test": sum(each.stop - each.start for each in split.held_out),
            "guard": split.num_guard_frames,
            "short": split.num_short_frames,
        },
    }
    return SplitNames(
        train=tuple(each.name for each in split.train),
        test=tuple(each.name for each in split.held_out),
        details=details,
    )


def _check_leftovers(out: Path, sides: Mapping[str, Sequence[Stretch]]) -> None:
    """Refuse trajectories of another split: whoever reads the folder would train on them."""
    for side, stretches in sides.items():
        found = {path.name for path in (out / side).glob("*/") if not path.name.startswith(".")}
        if others := found - {stretch.name for stretch in stretches}:
            raise FileExistsError(
                f"{out / side} holds {len(others)} folders of something else, {min(others)} the first; take "
                "another `out`, or remove them"
            )


def _write_once(trajectory: Trajectory, folder: Path) -> None:
    """Write a trajectory, unless a run that was stopped has written it."""
    path = folder / trajectory.name
    if not path.exists():
        write_trajectory(trajectory, folder)
    elif fingerprint([read_trajectory(path)]) != fingerprint([trajectory]):
        raise FileExistsError(f"{path} is there and holds another recording; take another `out`")


@hydra.main(version_base=None, config_path="conf", config_name="split")
def main(node: DictConfig) -> None:
    """Split, write and say what came out."""
    command = to_object(node, SplitCommand)
    names = make_split(command)
    print(f"{command.out}: {len(names.train)} for training, {len(names.test)} for tests")
    if isinstance(places := names.details.get("places"), list):
        print(f"{len(places)} places")
    if isinstance(frames := names.details.get("num_frames"), dict):
        print(", ".join(f"{number} frames {side}" for side, number in frames.items()))


store("split_schema", SplitCommand)

if __name__ == "__main__":
    main()
