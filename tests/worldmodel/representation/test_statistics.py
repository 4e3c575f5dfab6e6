import pytest
import torch

from data_tools.trajectory import write_trajectory
from tests.worldmodel.representation.synthetic import TINY, make_trajectory
from worldmodel.representation.codec import CodecRepresentation
from worldmodel.representation.kind import FILE_NAME
from worldmodel.representation.make_pixels import MakePixels, make_pixels
from worldmodel.representation.open import load_any, load_representation
from worldmodel.representation.pixels import PixelsCodec, PixelsConfig
from worldmodel.representation.rae import RaeRepresentation
from worldmodel.representation.statistics import StatisticsConfig, measure_and_write
from worldmodel.tensor_file import read_tensors

LENGTHS = (6, 9)
SHAPE = PixelsConfig(image_size=32, patch_size=16)


@pytest.fixture
def recordings(tmp_path):
    for index, length in enumerate(LENGTHS):
        write_trajectory(make_trajectory(f"walk_{index}", length, seed=index), tmp_path / "recordings")
    return str(tmp_path / "recordings")


def all_frames() -> torch.Tensor:
    """Return what the recordings hold, as long as they are not compressed: JPEG changes noise."""
    return torch.cat(
        [torch.from_numpy(make_trajectory("walk", n, seed=k).frames) for k, n in enumerate(LENGTHS)]
    )


def make_untrained(kind: str, folder) -> None:
    if kind == "pixels":
        CodecRepresentation(PixelsCodec(SHAPE), None).save(folder)
    else:
        RaeRepresentation.create(TINY, generator=torch.Generator().manual_seed(0)).save(folder)


@pytest.mark.parametrize("kind", ["pixels", "rae"])
def test_the_command_makes_a_representation_usable_and_its_latents_standard(kind, recordings, tmp_path):
    folder = tmp_path / kind
    make_untrained(kind, folder)
    with pytest.raises(ValueError, match=r"worldmodel\.representation\.statistics"):
        load_representation(folder)
    before = read_tensors(folder / FILE_NAME)
    measure_and_write(StatisticsConfig(representation=str(folder), data=[recordings]))
    latents = load_representation(folder).encode(all_frames())
    torch.testing.assert_close(latents.mean(dim=0), torch.zeros(latents.shape[1:]), atol=0.15, rtol=0)
    torch.testing.assert_close(latents.std(dim=0), torch.ones(latents.shape[1:]), atol=0.15, rtol=0)
    after = read_tensors(folder / FILE_NAME)
    weights = [name for name in before if not name.startswith("_latents")]
    assert all(torch.equal(before[name], after[name]) for name in weights)


@pytest.mark.parametrize("kind", ["pixels", "rae"])
def test_measuring_twice_gives_the_same(kind, recordings, tmp_path):
    folder = tmp_path / kind
    make_untrained(kind, folder)
    config = StatisticsConfig(representation=str(folder), data=[recordings])
    measure_and_write(config)
    first = (folder / FILE_NAME).read_bytes()
    measure_and_write(config)
    assert (folder / FILE_NAME).read_bytes() == first


def test_variance_only_keeps_features_where_they_are(recordings, tmp_path):
    folder = tmp_path / "pixels"
    make_untrained("pixels", folder)
    measure_and_write(StatisticsConfig(representation=str(folder), data=[recordings], variance_only=True))
    representation = load_any(folder)
    assert isinstance(representation, CodecRepresentation) and representation.normalisation is not None
    assert not representation.normalisation.mean.any() and representation.has_statistics


def test_a_part_of_the_frames_is_measured_if_that_is_asked_for(recordings, tmp_path):
    folder = tmp_path / "pixels"
    make_untrained("pixels", folder)
    whole = measure_and_write(StatisticsConfig(representation=str(folder), data=[recordings]))
    part = measure_and_write(StatisticsConfig(representation=str(folder), data=[recordings], num_frames=4))
    assert not torch.equal(whole.mean, part.mean)
    with pytest.raises(ValueError, match="num_frames of at least 2"):
        StatisticsConfig(representation="r", data=["d"], num_frames=1)
    with pytest.raises(ValueError, match="at least one folder of recordings"):
        measure_and_write(StatisticsConfig(representation=str(folder), data=[]))


def test_pixels_are_made_with_their_statistics(recordings, tmp_path):
    made = make_pixels(MakePixels(data=[recordings], out=str(tmp_path / "out"), shape=SHAPE))
    loaded = load_representation(tmp_path / "out")
    assert loaded.fingerprint == made.fingerprint and (loaded.num_tokens, loaded.num_channels) == (4, 768)
    make_untrained("pixels", tmp_path / "pixels")
    measure_and_write(StatisticsConfig(representation=str(tmp_path / "pixels"), data=[recordings]))
    assert load_representation(tmp_path / "pixels").fingerprint == made.fingerprint
