import pytest

from data_tools.document_config import DocumentConfig


def test_distinct_horizons_bound_the_number_of_branches():
    DocumentConfig(num_targets=14, max_context=4, max_horizon=16)
    with pytest.raises(ValueError, match="at most 17; got 18"):
        DocumentConfig(num_targets=15, max_context=4, max_horizon=16)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"max_context": 0}, "at least 1"),
        ({"video_strides": []}, "at least 1"),
        ({"near_horizon": 17}, "near_horizon"),
        ({"chain_share": 1.5}, r"shares must be in \[0, 1\]"),
        ({"action_weight": -1.0}, "weight not negative"),
    ],
)
def test_settings_out_of_range_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        DocumentConfig(**setting)
