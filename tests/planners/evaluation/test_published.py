"""Published numbers are those of the sources, none is from memory, and what bars comparing is said."""

from dataclasses import replace

import pytest

from planners.evaluation.nwm_protocol import SPACINGS_M
from planners.evaluation.published import (
    CAVEATS,
    Caveat,
    Comparable,
    Confidence,
    OurProtocol,
    PublishedPlanning,
    compare_planning,
    compare_prediction,
    published_planning,
    published_prediction,
)

OURS = OurProtocol(data_set="recon", spacing_m=0.25, num_context=4, windows="NWM's 100 windows")


def planning(method: str, data_set: str = "recon") -> PublishedPlanning:
    (found,) = [row for row in published_planning() if (row.method, row.data_set) == (method, data_set)]
    return found


@pytest.mark.parametrize(
    ("method", "data_set", "ate", "rpe"),
    [
        ("GNM", "recon", 1.87, 0.73),
        ("NoMaD", "recon", 1.93, 0.52),
        ("NWM, ranking 32 of NoMaD's trajectories", "recon", 1.78, 0.48),
        ("NWM, CEM", "recon", 1.13, 0.35),
        ("NWM, CEM", "scand", 1.28, 0.33),
        ("NWM, CEM", "sacson", 4.12, 0.96),
        ("RAE-NWM, CEM", "recon", 1.36, 0.37),
        ("RAE-NWM, CEM", "scand", 1.14, 0.28),
        ("RAE-NWM, CEM", "sacson", 2.91, 0.70),
        ("Latent Action World Model, discrete", "recon", 1.48, 0.42),
        ("CompACT, 8 tokens", "scand", 1.391, 0.346),
        ("LS-NWM", "recon", 1.51, 0.43),
        ("CoME", "recon", 0.96, 0.28),
        ("Reproduction of NWM, CDiT-B, 120 candidates x 3", "recon", 1.130, 0.348),
    ],
)
def test_numbers_of_the_sources(method: str, data_set: str, ate: float, rpe: float):
    row = planning(method, data_set)
    assert (row.ate_spacing, row.rpe_spacing) == (ate, rpe)


def test_nothing_is_quoted_from_memory():
    methods = {(row.method, row.data_set) for row in published_planning()}
    assert {data_set for _, data_set in methods} == {"recon", "scand", "sacson"}  # no TartanDrive
    assert not any(method.startswith("Forward") for method, _ in methods)
    assert {data_set for method, data_set in methods if method in ("GNM", "NoMaD")} == {"recon"}
    assert {row.confidence for row in published_planning()} == {Confidence.high, Confidence.medium}


def test_protocol_facts_of_nwm():
    row = planning("NWM, CEM")
    assert (row.num_candidates, row.num_elites, row.num_iterations, row.num_repeats) == (120, 5, 1, 3)
    assert (row.num_context, row.windows, row.ate_deviation) == (4, "NWM's 100 windows", 0.02)
    assert planning("RAE-NWM, CEM", "scand").spacing_m == 0.36 != SPACINGS_M["scand"]
    assert planning("CoME").num_context == 12


def test_every_row_names_a_source_and_every_caveat_is_used():
    rows = [*published_planning(), *published_prediction()]
    assert all(row.source for row in rows) and set(CAVEATS) == set(Caveat)
    assert {caveat for row in rows for caveat in row.caveats} == set(Caveat)
    assert len({(row.method, row.data_set) for row in published_planning()}) == len(published_planning())


def test_frames_of_the_sources():
    found = {
        (row.method, row.data_set, row.kind, row.goal_s, row.metric): row.value
        for row in published_prediction()
    }
    assert found["NWM", "recon", "time", 4.0, "lpips"] == 0.295
    assert found["RAE-NWM", "sacson", "time", 16.0, "fid"] == 15.9
    assert found["Reproduction of NWM, CDiT-S", "recon", "rollout at 4 fps", 16.0, "lpips"] == 0.572
    assert found["NWM, in-domain data and Ego4D", "go_stanford", "time", 4.0, "psnr_db"] == 11.08


def test_another_data_set_bars_comparing():
    verdict = compare_planning(planning("NWM, CEM", "scand"), OURS)
    assert verdict.comparable is Comparable.no
    assert verdict.reasons == ("on scand, ours on recon: spacings of two sets are two units",)


def test_another_spacing_constant_bars_comparing():
    ours = replace(OURS, data_set="scand", spacing_m=0.38)
    rae = compare_planning(planning("RAE-NWM, CEM", "scand"), ours)
    assert rae.comparable is Comparable.no
    assert rae.reasons[0] == "its unit is a spacing of 0.36 m, ours of 0.38 m"
    nwm = compare_planning(planning("NWM, CEM", "scand"), ours)
    assert nwm.comparable is Comparable.with_care
    assert any("blurred faces" in reason for reason in nwm.reasons)
    # Within a hundredth it is one unit: spacings are measured.
    assert compare_planning(planning("NWM, CEM", "scand"), replace(ours, spacing_m=0.3815)) == nwm


def test_context_windows_and_unknown_units_bar_comparing():
    known = replace(planning("CoME"), spacing_m=0.25, windows=None, caveats=())
    assert compare_planning(known, OURS).reasons == ("it sees 12 frames of context, ours 4",)
    assert compare_planning(replace(known, num_context=4), OURS).comparable is Comparable.yes
    elsewhere = compare_planning(planning("NWM, CEM"), replace(OURS, windows="2,000 others"))
    assert elsewhere.comparable is Comparable.no and "ours on 2,000 others" in elsewhere.reasons[0]
    assert "spacing is not stated" in compare_planning(planning("LS-NWM"), OURS).reasons[0]
    unsaid = compare_planning(replace(known, num_context=4), replace(OURS, windows=None))
    assert unsaid.comparable is Comparable.with_care


def test_frames_of_another_set_do_not_compare():
    row = next(row for row in published_prediction() if row.data_set == "recon")
    assert compare_prediction(row, data_set="sacson").comparable is Comparable.no
    assert compare_prediction(row, data_set="recon").comparable is Comparable.with_care
