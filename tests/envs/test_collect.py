import errno
import io
import json
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import envs.collect
from data_tools.trajectory import read_trajectories
from envs.collect import CollectConfig, Task, collect, record_task
from envs.collect_summary import Row, numbers_table, summarise
from envs.level_recorder import RecordConfig

LEVEL = "e1m2"


def config(out: Path, **changes: object) -> CollectConfig:
    values = {
        "out": str(out), "seed": 3, "levels": [LEVEL], "frames_per_level": 40, "workers": 1,
        "record": RecordConfig(trajectory_frames=12, caption_share=0.2),
    }  # fmt: skip
    return CollectConfig(**(values | changes))  # pyright: ignore[reportArgumentType]


def quiet() -> Console:
    return Console(file=io.StringIO())


def record_all(wanted: CollectConfig, indices: tuple[int, ...]) -> None:
    """Record in this process, as a worker does."""
    out = Path(wanted.out)
    (out / ".records").mkdir(parents=True, exist_ok=True)
    record_task(Task(out=out, level=LEVEL, indices=indices, seed=wanted.seed, record=wanted.record))


def test_a_stopped_collection_goes_on_and_equals_an_unbroken_one(tmp_path: Path):
    unbroken, broken = config(tmp_path / "unbroken"), config(tmp_path / "broken")
    record_all(unbroken, (0, 1, 2, 3))
    names = [trajectory.name for trajectory in read_trajectories(Path(unbroken.out)).trajectories]
    record_all(broken, (0, 2))
    # What a killed worker leaves: a half-written trajectory.
    shutil.copytree(tmp_path / "unbroken" / names[1], tmp_path / "broken" / f".{names[1]}.0123.partial")
    collection = collect(broken, console=quiet())
    assert collection.num_recorded == 2
    report = read_trajectories(Path(broken.out))
    assert [trajectory.name for trajectory in report.trajectories] == names and report.num_skipped == 0
    for name in names:
        for file in (tmp_path / "unbroken" / name).iterdir():
            assert (tmp_path / "broken" / name / file.name).read_bytes() == file.read_bytes()
    again = collect(unbroken, console=quiet())
    assert again.num_recorded == 0 and again.groups == collection.groups
    written = json.loads((tmp_path / "broken" / "summary_seed3.json").read_text())
    assert written["configuration"]["frames_per_level"] == 40 and written["seed"] == 3
    assert written["groups"]["all"]["num_frames"] == 48


def test_another_configuration_may_not_share_the_folder(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"trajectory_frames": 7}')
    with pytest.raises(ValueError, match="trajectory_frames=7 there, 12 asked for"):
        collect(config(tmp_path), console=quiet())


def test_the_summary_is_of_all_that_is_there_for_its_seed(tmp_path: Path):
    record_all(config(tmp_path), (0, 1, 2))
    record_all(config(tmp_path, seed=33), (0,))
    # What a killed worker leaves: a row whose trajectory was not written.
    rows = sorted((tmp_path / ".records").glob("*_seed3_*"))
    (tmp_path / ".records" / f"{LEVEL}_seed3_00009_explorer.json").write_bytes(rows[0].read_bytes())
    collection = collect(config(tmp_path, frames_per_level=12), console=quiet())
    assert collection.num_recorded == 0
    assert collection.groups["all"].num_trajectories == 3


@pytest.mark.parametrize("content", ["{", "[]", "[" * 200_000])
def test_a_broken_configuration_names_its_file(tmp_path: Path, content: str):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config\.json"):
        collect(config(tmp_path), console=quiet())


@pytest.mark.parametrize(
    ("number", "message"), [(errno.ENOSPC, "make room and run"), (errno.EACCES, "^.Errno 13. no, locked$")]
)
def test_only_a_full_disk_asks_for_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str
):
    class Failing(ThreadPoolExecutor):
        def __init__(self, *_: object, **__: object) -> None:
            super().__init__(1)

        def submit(self, *_: object, **__: object) -> Future:  # pyright: ignore[reportIncompatibleMethodOverride]
            done: Future = Future()
            done.set_exception(OSError(number, "no, locked"))
            return done

    monkeypatch.setattr(envs.collect, "ProcessPoolExecutor", Failing)
    with pytest.raises(OSError, match=message):
        collect(config(tmp_path), console=quiet())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"levels": ["map99"]}, "unknown level 'map99'"),
        ({"levels": [LEVEL, LEVEL]}, "may be named once"),
        ({"workers": 0}, "workers=0"),
    ],
)
def test_impossible_collections_are_refused(change: dict, message: str):
    with pytest.raises(ValueError, match=message):
        config(Path("nowhere"), **change)


def row(policy: str, *, dx_m: float, num_collided: int = 0) -> Row:
    return Row(
        name=f"{policy}_{dx_m}", level=LEVEL, policy=policy, num_frames=11, num_steps=10,
        num_collided=num_collided, path_m=5.0 * abs(dx_m), duration_s=2.5, num_horizons=3,
        horizon_sum=[3 * dx_m, 0.0, 0.0], horizon_squares=[3 * dx_m**2, 0.0, 0.0],
        num_captions=1, num_questions=2, num_instructions=5, num_held_out=1,
    )  # fmt: skip


def test_summary_adds_up_and_knows_what_the_mean_motion_explains():
    groups = summarise([row("explorer", dx_m=1.0), row("commands", dx_m=-1.0, num_collided=5)])
    assert set(groups) == {"all", "policy_explorer", "policy_commands", f"level_{LEVEL}"}
    assert groups["all"].spacing_m == pytest.approx(0.5)
    assert groups["all"].speed_m_s == pytest.approx(2.0)
    assert groups["all"].collided == pytest.approx(0.25)
    assert groups["policy_explorer"].horizon_rms_left_by_mean_m == pytest.approx(0.0)
    assert groups["all"].horizon_rms_left_by_mean_m == pytest.approx(1.0)
    assert numbers_table(groups).row_count == 4


def test_a_broken_row_names_its_file(tmp_path: Path):
    path = tmp_path / "map02_seed0_00001_explorer.json"
    path.write_text("{")
    with pytest.raises(ValueError, match="map02_seed0_00001_explorer"):
        Row.read(path)
    assert np.isfinite(row("commands", dx_m=2.0).path_m)
