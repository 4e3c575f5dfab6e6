"""Laws of the rows that ranks hold."""

import pytest
import torch

from worldmodel.pieces import Place, held, piece_of, pieces_of, place_of


@pytest.mark.parametrize(("num_rows", "count"), [(5, 2), (2, 3), (6, 3), (1, 4), (7, 1)])
def test_ranks_hold_every_row_once_and_as_torch_shares_them_out(num_rows, count):
    tensor = torch.arange(num_rows * 3).reshape(num_rows, 3)
    places = [Place.of_rank(tensor.shape, rank=rank, count=count) for rank in range(count)]
    parts = [tensor[place.start : place.start + place.num_rows] for place in places]
    assert torch.equal(torch.cat(parts), tensor)
    chunks = [*tensor.chunk(count), *[tensor[:0]] * count][:count]
    assert [part.shape for part in parts] == [chunk.shape for chunk in chunks]
    assert [tuple(part.shape) for part in parts] == [place.held_shape for place in places]


def test_what_is_not_shared_out_is_one_piece():
    tensor = torch.ones(2, 3, requires_grad=True)
    assert place_of(tensor) == Place((2, 3), 0, 2) and place_of(tensor).is_whole
    assert not Place((2, 3), 1, 1).is_whole
    assert place_of(torch.tensor(1.0)).held_shape == ()
    assert held(tensor).data_ptr() == tensor.data_ptr() == piece_of(tensor).rows.data_ptr()
    assert pieces_of(torch.nn.Linear(3, 5))["weight"].place == Place((5, 3), 0, 5)
