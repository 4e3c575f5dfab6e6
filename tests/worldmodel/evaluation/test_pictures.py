"""Pictures drawn into files, with a model that draws noise as models do: from a seed and a name."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from data_tools.randomness import generator_for
from worldmodel.evaluation.pictures import draw_into


class Noise:
    """Draws noise of a picture's name, shifted by its neighbours; stops after `most` pictures."""

    def __init__(self, *, most: int | None = None) -> None:
        self.most, self.num_drawn = most, 0

    def draw(self, texts: Sequence[str], *, names: Sequence[str]) -> torch.Tensor:
        drawn = []
        for name in names:
            if self.num_drawn == self.most:
                raise KeyboardInterrupt
            self.num_drawn += 1
            drawn.append(torch.randint(256, (2, 2, 3), generator=generator_for(0, name), dtype=torch.uint8))
        neighbours = torch.tensor([len(name) for name in names], dtype=torch.uint8).sum()
        return torch.stack([*drawn]) + neighbours


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*.png")}


def test_a_drawing_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path):
    def wanted(folder: Path) -> list[tuple[str, Path]]:
        return [(f"text {n}", folder / "images" / f"{10**n}.png") for n in range(6)]

    one, other = tmp_path / "one", tmp_path / "other"
    assert draw_into(Noise(), wanted(one), one, at_once=2) == 6
    with pytest.raises(KeyboardInterrupt):
        draw_into(Noise(most=3), wanted(other), other, at_once=2)
    assert draw_into(Noise(), wanted(other), other, at_once=2) == 4
    assert contents(other) == contents(one) and len(set(contents(one).values())) == 6
    # A batch that was written in part is drawn beside the same others, and what is there stays.
    mine = wanted(other)[2][1]
    mine.write_bytes(b"mine")
    wanted(other)[3][1].unlink()
    assert draw_into(Noise(), wanted(other), other, at_once=2) == 1
    assert contents(other) == contents(one) | {mine.name: b"mine"}


def test_a_model_that_draws_too_few_is_refused(tmp_path):
    class Lazy:
        def draw(self, texts: Sequence[str], *, names: Sequence[str]) -> torch.Tensor:
            return torch.zeros(1, 2, 2, 3, dtype=torch.uint8)

    wanted = [("a", tmp_path / "a.png"), ("b", tmp_path / "b.png")]
    with pytest.raises(ValueError, match="needed 2 pictures, the model drew 1"):
        draw_into(Lazy(), wanted, tmp_path, at_once=2)
