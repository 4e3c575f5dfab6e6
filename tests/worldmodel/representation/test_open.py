import pytest
import torch

from tests.worldmodel.representation.synthetic import TINY, make_frames
from worldmodel.model_folder import SHIPPED
from worldmodel.representation.codec import CodecRepresentation
from worldmodel.representation.kind import FILE_NAME, Kind, kind_of
from worldmodel.representation.normalisation import Normalisation
from worldmodel.representation.open import load_any, load_representation, refuse_other
from worldmodel.representation.pixels import PixelsCodec, PixelsConfig
from worldmodel.representation.rae import RaeRepresentation, with_statistics
from worldmodel.tensor_file import read_with_note, write_tensors


def make_rae(*, std: float) -> RaeRepresentation:
    untrained = RaeRepresentation.create(TINY, generator=torch.Generator().manual_seed(0))
    return with_statistics(untrained, mean=torch.zeros(4, 64), std=torch.full((4, 64), std))


def test_a_file_without_a_kind_is_our_own_encoder(tmp_path):
    representation = make_rae(std=2.0)
    representation.save(tmp_path)
    tensors, note = read_with_note(tmp_path / FILE_NAME)
    write_tensors(tmp_path / FILE_NAME, tensors, note={"config": note["config"]})
    loaded = load_representation(tmp_path)
    assert isinstance(loaded, RaeRepresentation) and note["kind"] == "rae"
    frames = make_frames(2, seed=1)
    torch.testing.assert_close(loaded.encode(frames), representation.encode(frames), atol=0.05, rtol=0.05)


def test_the_shipped_representation_opens_as_before():
    folder = SHIPPED / "nano"
    loaded, before = load_representation(folder), RaeRepresentation.load(folder)
    frames = make_frames(3, seed=2, height=120, width=160)
    assert loaded.fingerprint == before.fingerprint and loaded.num_context_channels == 0
    assert torch.equal(loaded.encode(frames), before.encode(frames))


def test_representations_without_statistics_are_refused_with_the_remedy(tmp_path):
    make_rae(std=1.0).save(tmp_path / "rae")
    CodecRepresentation(PixelsCodec(PixelsConfig()), None).save(tmp_path / "pixels")
    for name in ("rae", "pixels"):
        command = f"worldmodel.representation.statistics representation={tmp_path / name}"
        with pytest.raises(ValueError, match=command):
            load_representation(tmp_path / name)
        assert not load_any(tmp_path / name).has_statistics


def test_unknown_kinds_and_foreign_content_are_refused(tmp_path):
    assert all(kind_of({"kind": kind.name}) is kind for kind in Kind)
    with pytest.raises(ValueError, match=r"siglip2, .*pixels, got 'siglip3'"):
        kind_of({"kind": "siglip3"})
    path = tmp_path / FILE_NAME
    for config in ({"patch": 3}, None, {"image_size": "large"}):
        write_tensors(path, {"weight": torch.zeros(2)}, note={"kind": "pixels", "config": config})
        with pytest.raises(ValueError, match="does not hold a representation"):
            load_any(tmp_path)
    write_tensors(path, {"other": torch.zeros(2)}, note={"kind": "pixels", "config": {}})
    with pytest.raises(ValueError, match="does not hold a representation"):
        load_any(tmp_path)


def test_statistics_of_another_shape_are_refused(tmp_path):
    tensors = {"_latents_mean": torch.zeros(16, 5), "_latents_std": torch.ones(16, 5)}
    write_tensors(tmp_path / FILE_NAME, tensors, note={"kind": "pixels", "config": {}})
    with pytest.raises(ValueError, match="16 tokens of 768 channels, got"):
        load_any(tmp_path)


def test_statistics_survive_a_change_of_precision_and_the_fingerprint_too():
    representation = CodecRepresentation(
        PixelsCodec(PixelsConfig()), Normalisation(torch.zeros(16, 768), torch.full((16, 768), 3.0))
    )
    half = representation.in_precision(torch.bfloat16)
    assert half.fingerprint == representation.fingerprint and half.has_statistics


def test_statistics_that_are_wrong_can_be_passed_over_to_measure_them_anew(tmp_path):
    codec = PixelsCodec(PixelsConfig(image_size=8, patch_size=4))
    CodecRepresentation(codec, None).save(tmp_path)
    path = tmp_path / FILE_NAME
    tensors, note = read_with_note(path)
    wrong = {"_latents_mean": torch.zeros(4, 48), "_latents_std": torch.zeros(4, 48)}
    write_tensors(path, tensors | wrong, note=note)
    with pytest.raises(ValueError, match="compute them anew"):
        load_any(tmp_path)
    assert not load_any(tmp_path, keep_statistics=False).has_statistics


def test_a_folder_of_another_kind_is_not_written_to(tmp_path):
    refuse_other(tmp_path, "vae")
    CodecRepresentation(PixelsCodec(PixelsConfig()), None).save(tmp_path)
    refuse_other(tmp_path, "pixels")
    with pytest.raises(ValueError, match=r"kind vae, .* holds one of kind pixels"):
        refuse_other(tmp_path, "vae")
