"""What cannot be read is named and counted."""

from data_tools.trajectory import write_trajectory
from tests.worldmodel.representation.synthetic import make_trajectory
from worldmodel.recordings import open_recordings


def test_what_is_skipped_is_named_with_its_reason_and_counted(tmp_path, capsys):
    for folder, names in (("one", ("walk_0", "walk_1")), ("two", ("walk_2",))):
        for name in names:
            write_trajectory(make_trajectory(name, 5, seed=1), tmp_path / folder)
    (tmp_path / "one" / "walk_0" / "3.jpg").unlink()
    found = open_recordings([str(tmp_path / "one"), str(tmp_path / "two")])
    assert [trajectory.name for trajectory in found] == ["walk_1", "walk_2"]
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith(f"skipped {tmp_path / 'one' / 'walk_0'}: ") and "3.jpg" in said[0]
    assert said[1:] == [
        f"{tmp_path / 'one'}: 1 trajectories, 1 skipped",
        f"{tmp_path / 'two'}: 1 trajectories, 0 skipped",
    ]
