import numpy as np
import pytest

from data_tools.action_documents import (
    ForwardBuilder,
    InstructedBuilder,
    InverseBuilder,
    action_texts,
    horizon_weights,
)
from data_tools.action_text import parse_actions
from data_tools.document_config import DocumentConfig
from data_tools.documents import Branch, Document, Image, Kind, Text, frames_of
from data_tools.pose import displacement_between
from tests.data_tools.recordings import HELD_OUT_WORDS, STEP_S, drive, drives

TRAJECTORIES = drives()


def build_many(builder, count: int) -> list[Document]:
    rng = np.random.default_rng(0)
    return [builder.build(rng=rng) for _ in range(count)]


def last_frame(segments: tuple) -> int:
    return [segment.frame.frame for segment in segments if isinstance(segment, Image)][-1]


def edges(document: Document) -> list[tuple[int, str | None, int]]:
    """(frame before, action text, frame after) of every branch, at every depth."""
    found = []

    def walk(start: int, branch: Branch) -> None:
        texts = [segment.text for segment in branch.segments if isinstance(segment, Text)]
        end = last_frame(branch.segments)
        found.append((start, texts[-1] if texts else None, end))
        for child in branch.branches:
            walk(end, child)

    for branch in document.branches:
        walk(last_frame(document.context), branch)
    return found


def assert_actions_are_true(document: Document) -> None:
    trajectory = TRAJECTORIES[frames_of(document)[0].trajectory]
    assert trajectory.poses is not None
    known = [(start, text, end) for start, text, end in edges(document) if text is not None]
    for (start, _, end), action in zip(known, parse_actions([text for _, text, _ in known]), strict=True):
        expected = displacement_between(trajectory.poses[start], trajectory.poses[end])
        np.testing.assert_allclose(action[:3], expected, atol=5.1e-4)
        np.testing.assert_allclose(action[3], (end - start) * STEP_S, atol=5.1e-3)


def test_forward_actions_lead_from_the_frame_before_to_the_frame_after():
    for document in build_many(ForwardBuilder(TRAJECTORIES, DocumentConfig(chain_share=0.5)), 50):
        assert document.kind is Kind.forward
        assert len({key.trajectory for key in frames_of(document)}) == 1
        assert_actions_are_true(document)


def test_forward_context_is_consecutive_frames_of_every_length():
    documents = build_many(ForwardBuilder(TRAJECTORIES, DocumentConfig(max_context=3)), 60)
    lengths = set()
    for document in documents:
        frames = [segment.frame.frame for segment in document.context if isinstance(segment, Image)]
        assert frames == list(range(frames[0], frames[-1] + 1))
        assert not any(segment.is_target for segment in document.context if isinstance(segment, Image))
        lengths.add(len(frames))
    assert lengths == {1, 2, 3}


def test_forward_documents_hold_equally_many_frames_whatever_their_context():
    long = [drive(99, seed=5)]
    for chain_share in (0.0, 0.3):
        config = DocumentConfig(num_targets=11, chain_share=chain_share)
        for document in build_many(ForwardBuilder(long, config), 30):
            assert len(frames_of(document)) == 15


def test_jumps_have_distinct_horizons_in_range():
    for document in build_many(ForwardBuilder(TRAJECTORIES, DocumentConfig(chain_share=0.0)), 50):
        anchor = last_frame(document.context)
        horizons = [end - start for start, _, end in edges(document)]
        assert all(start == anchor for start, _, _ in edges(document))
        assert len(set(horizons)) == len(horizons)
        assert min(horizons) >= 0
        assert max(horizons) <= 16


def test_near_horizons_are_drawn_by_weight():
    config = DocumentConfig(num_targets=1, max_context=1, chain_share=0.0)
    documents = build_many(ForwardBuilder([drive(300, seed=5)], config), 1200)
    counts = np.bincount([end - start for document in documents for start, _, end in edges(document)])
    weights = horizon_weights(config, lowest=0)
    np.testing.assert_allclose(counts / counts.sum(), weights / weights.sum(), atol=0.03)
    assert weights.tolist() == [0.5, *[2.0] * 8, *[1.0] * 8]


def test_chains_are_two_or_three_steps_and_a_share_of_the_branches():
    def depth(branch: Branch) -> int:
        return 1 + max((depth(child) for child in branch.branches), default=0)

    documents = build_many(ForwardBuilder([drive(400, seed=5)], DocumentConfig(chain_share=0.25)), 300)
    depths = [depth(branch) for document in documents for branch in document.branches]
    assert set(depths) == {1, 2, 3}
    share = np.mean(np.array(depths) > 1)
    # A little less than the setting: the last branch may find no room to go on.
    assert 0.2 < share < 0.26


def test_a_share_of_branches_has_no_action_and_the_rest_weigh_little():
    config = DocumentConfig(condition_dropout=0.2, action_weight=0.3)
    documents = build_many(ForwardBuilder([drive(400, seed=5)], config), 300)
    known = [text is not None for document in documents for _, text, _ in edges(document)]
    assert abs(1 - np.mean(known) - 0.2) < 0.02
    segments = [s for document in documents for branch in document.branches for s in branch.segments]
    assert {segment.weight for segment in segments if isinstance(segment, Text)} == {0.3}
    assert {segment.is_target for segment in segments if isinstance(segment, Image)} == {True}


def test_inverse_documents_show_the_goal_and_learn_the_action():
    for document in build_many(InverseBuilder(TRAJECTORIES, DocumentConfig(num_goals=3)), 30):
        assert document.kind is Kind.inverse
        assert_actions_are_true(document)
        for branch in document.branches:
            goal, action = branch.segments
            assert isinstance(goal, Image)
            assert isinstance(action, Text)
            assert not goal.is_target
            assert action.weight == 1.0
        horizons = [end - start for start, _, end in edges(document)]
        assert min(horizons) >= 1
        assert len(set(horizons)) == len(horizons) == 3


def test_instructed_documents_give_the_command_and_learn_action_and_frame():
    for document in build_many(InstructedBuilder(TRAJECTORIES, DocumentConfig(), held_out=False), 30):
        assert document.kind is Kind.instructed
        assert_actions_are_true(document)
        assert len(document.branches) == 2
        for branch in document.branches:
            command, action, image = branch.segments
            assert isinstance(command, Text)
            assert isinstance(action, Text)
            assert isinstance(image, Image)
            assert (command.weight, action.weight, image.is_target) == (0.0, 1.0, True)


@pytest.mark.parametrize("held_out", [False, True])
def test_commands_are_of_the_wordings_asked_for(held_out):
    documents = build_many(InstructedBuilder(TRAJECTORIES, DocumentConfig(), held_out=held_out), 30)
    commands = [branch.segments[0] for document in documents for branch in document.branches]
    assert {HELD_OUT_WORDS in command.text for command in commands if isinstance(command, Text)} == {held_out}


def test_short_trajectories_give_what_they_have():
    document = build_many(ForwardBuilder([drive(3, seed=1)], DocumentConfig(chain_share=0.0)), 1)[0]
    assert sorted(end for _, _, end in edges(document)) == [0, 1, 2]
    document = build_many(InverseBuilder([drive(2, seed=1, with_texts=False)], DocumentConfig()), 1)[0]
    assert [end for _, _, end in edges(document)] == [1]


def test_a_motion_that_cannot_be_written_names_its_trajectory():
    trajectory = drive(5, seed=7)
    assert trajectory.poses is not None
    trajectory.poses[3:, 0] += 500.0
    with pytest.raises(ValueError, match="trajectory 'drive7', from frames"):
        action_texts(trajectory, [0], [4])


def test_trajectories_without_instructions_are_refused():
    with pytest.raises(ValueError, match="instructions with held_out=True"):
        InstructedBuilder([drive(5, seed=1, with_texts=False)], DocumentConfig(), held_out=True)
