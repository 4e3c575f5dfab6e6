"""Laws of Muon: that of torch bit for bit, and the same updates whoever holds the rows."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.worldmodel.processes import run_ranks
from worldmodel.muon import Muon, orthogonal
from worldmodel.pieces import Place
from worldmodel.ranks import Ranks
from worldmodel.tensor_file import read_tensors, write_tensors

SHAPES = ((3, 5), (24, 20), (20, 24), (7, 2), (1, 6), (3, 6, 4), (1, 4, 6))


def trained(ranks: Ranks, *, shared_out: bool) -> list[Tensor]:
    """Return what this rank holds of matrices after three steps."""
    generator = torch.Generator().manual_seed(0)
    whole = [torch.randn(shape, generator=generator) for shape in SHAPES]
    places = [
        Place.of_rank(shape, rank=ranks.rank, count=ranks.count) if shared_out else Place.whole(shape)
        for shape in SHAPES
    ]
    parts = [nn.Parameter(rows_of(*pair)) for pair in zip(whole, places, strict=True)]
    muon = Muon(
        parts,
        places=dict(zip(parts, places, strict=True)),
        are_shared_out=shared_out,
        lr=0.02,
        weight_decay=0.1,
        ranks=ranks,
    )
    for _ in range(3):
        for part, place, shape in zip(parts, places, SHAPES, strict=True):
            part.grad = rows_of(torch.randn(shape, generator=generator), place)
        muon.step()
    return [part.detach() for part in parts]


def rows_of(tensor: Tensor, place: Place) -> Tensor:
    return tensor[place.start : place.start + place.num_rows].clone()


def train_both(ranks: Ranks, folder: Path) -> None:
    for name, shared_out in (("rows", True), ("whole", False)):
        parts = {str(index): part for index, part in enumerate(trained(ranks, shared_out=shared_out))}
        write_tensors(folder / f"{name}-{ranks.rank}.safetensors", parts)


def test_updates_are_those_of_torch_for_matrices_and_for_each_of_a_stack():
    generator = torch.Generator().manual_seed(0)
    parameters = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]
    stacked = [torch.unbind(each.detach()) if each.dim() == 3 else (each.detach(),) for each in parameters]
    matrices = [[nn.Parameter(matrix) for matrix in matrices] for matrices in stacked]  # views of parameters
    flat = [matrix for each in matrices for matrix in each]
    muon = torch.optim.Muon(flat, lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        for shape, each in zip(SHAPES, matrices, strict=True):
            gradient = torch.randn(shape, generator=generator)
            for matrix, part in zip(each, gradient.reshape(-1, *shape[-2:]), strict=True):
                matrix.grad = part
        muon.step()
    for ours, theirs in zip(trained(Ranks(), shared_out=False), parameters, strict=True):
        assert torch.equal(ours, theirs.detach())


def test_two_ranks_make_the_updates_of_one(tmp_path):
    run_ranks(train_both, tmp_path, count=2)
    expected = trained(Ranks(), shared_out=False)
    rows, whole = (
        [read_tensors(tmp_path / f"{name}-{rank}.safetensors") for rank in (0, 1)]
        for name in ("rows", "whole")
    )
    for index, matrix in enumerate(expected):
        assert torch.equal(torch.cat([part[str(index)] for part in rows]), matrix)
        assert torch.equal(whole[0][str(index)], matrix) and torch.equal(whole[1][str(index)], matrix)


@pytest.mark.parametrize("shape", [(5, 24), (24, 5)])
def test_singular_values_come_near_one(shape, generator):
    singular = torch.linalg.svdvals(orthogonal(torch.randn(shape, generator=generator)).float())
    assert len(singular) == 5
    assert 0.5 < singular.min() and singular.max() < 1.4
