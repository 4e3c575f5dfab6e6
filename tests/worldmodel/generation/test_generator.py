"""Generation from the cache equals whole documents run as in training, for every feed-forward kind."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from data_tools.randomness import generator_for
from tests.worldmodel.conftest import CHANNELS, NUM_LATENTS
from worldmodel.branching import FrameSampling
from worldmodel.flow import Sampler
from worldmodel.generation import interleaving
from worldmodel.generation.generator import GenerationConfig, Generator
from worldmodel.generation.token_choice import TextSampling
from worldmodel.tokenizer import TextTokenizer

ACTION = "action: dx=+0.335, dy=-0.020, dyaw=+0.120, dt=0.26"
CONFIG = GenerationConfig(
    frame=FrameSampling(num_steps=2, guidance=3.0, sampler=Sampler.heun), text=TextSampling(max_tokens=40)
)
TOLERANCE: Any = {"atol": 1e-4, "rtol": 1e-4}


class Script:
    """Stands in for the choice of tokens: each sequence writes what it is told, and its logits are kept.

    A sequence that opens an image waits until the others have opened theirs, or have ended.
    """

    def __init__(self, tokenizer: TextTokenizer, *scripts: Sequence[str | None]) -> None:
        """Take texts, and None for an image."""
        self.image, self.end = tokenizer.image_begin, tokenizer.end
        self.left = [
            [token for piece in pieces for token in self._tokens(tokenizer, piece)] + [tokenizer.end]
            for pieces in scripts
        ]
        self.is_waiting = [False] * len(scripts)
        self.logits: list[list[torch.Tensor]] = [[] for _ in scripts]

    def _tokens(self, tokenizer: TextTokenizer, piece: str | None) -> list[int]:
        return [self.image] if piece is None else tokenizer.encode(piece).ids.tolist()

    def __call__(self, logits: torch.Tensor, uniform: torch.Tensor, sampling: TextSampling) -> torch.Tensor:
        if all(waiting or not left for waiting, left in zip(self.is_waiting, self.left, strict=True)):
            self.is_waiting = [False] * len(self.left)
        chosen = []
        for row, left in enumerate(self.left):
            if self.is_waiting[row] or not left:
                chosen.append(self.end)
                continue
            chosen.append(left.pop(0))
            self.logits[row].append(logits[row].clone())
            self.is_waiting[row] = chosen[-1] == self.image
        return torch.tensor(chosen)


@pytest.fixture
def follow(monkeypatch, tokenizer):
    """Return a function that makes sequences write given texts, and gives their logits."""

    def install(*scripts: Sequence[str | None]) -> Script:
        script = Script(tokenizer, *scripts)
        monkeypatch.setattr(interleaving, "choose_tokens", script)
        return script

    return install


def assert_logits_equal(found: Sequence[torch.Tensor], expected: torch.Tensor) -> None:
    """Compare what may be chosen: some markers are banned."""
    stacked = torch.stack(list(found))
    allowed = stacked > float("-inf")
    assert (~allowed).sum(dim=1).max() <= 4
    torch.testing.assert_close(stacked[allowed], expected[allowed], **TOLERANCE)


def test_interleaved_documents_equal_whole_ones(world_model, latents, reference, follow):
    """Three documents of different lengths, which write and imagine at different times."""
    given = [
        [latents.table[7], "turn left, then go"],
        ["a wall ahead"],
        [latents.table[3], "two metres", latents.table[9]],
    ]
    scripts = [[ACTION, None, "a wall 3.5 ahead"], [None, "turn left", None], ["go 12"]]
    script = follow(*scripts)
    found = Generator(world_model, CONFIG).continue_pieces(given)
    stream = generator_for(CONFIG.seed, "noise")
    noise = [torch.randn(3, NUM_LATENTS, CHANNELS, generator=stream) for _ in range(2)]
    for row, pieces in enumerate(scripts):
        assert found[row].has_ended
        assert [piece if isinstance(piece, str) else None for piece in found[row].pieces] == pieces
        whole = list(given[row])
        frame_number = 0
        for piece in found[row].pieces:
            if isinstance(piece, torch.Tensor):
                expected = reference.frame(whole, noise[frame_number][row], CONFIG)
                torch.testing.assert_close(piece, expected, **TOLERANCE)
                frame_number += 1
            whole.append(piece)
        expected = reference.logits(whole, num_last=len(script.logits[row]))
        assert_logits_equal(script.logits[row], expected)


def test_a_text_that_goes_on_reads_its_numbers_on(world_model, reference, follow):
    script = follow(["23"])
    (found,) = Generator(world_model, CONFIG).continue_pieces([["go 1"]])
    assert found.pieces == ["23"]
    expected = reference.logits(["go 123"], num_last=3)
    assert_logits_equal(script.logits[0], expected)


def test_an_answer_reads_its_numbers_afresh(world_model, latents, reference, follow, frame):
    script = follow(["3"])
    assert Generator(world_model, CONFIG).answer(frame(5)[None], ["how many, 1 or 2"]) == ["3"]
    expected = reference.logits([latents.table[5], "how many, 1 or 2", "3"], num_last=2)
    assert_logits_equal(script.logits[0], expected)


def test_captions_are_those_of_whole_documents(world_model, latents, reference, frame):
    """Greedy: at each token the likeliest of the packed document's."""
    generator = Generator(world_model, GenerationConfig(text=TextSampling(max_tokens=5)))
    tokenizer = world_model.tokenizer
    texts = generator.caption(torch.stack([frame(5), frame(8)]))
    for number, text in zip((5, 8), texts, strict=True):
        hidden, batch = reference.run([latents.table[number]])
        logits = world_model.transfusion.text_logits(hidden[0, batch.text_from[-1:]])
        banned = [tokenizer.pad, tokenizer.begin, tokenizer.image_begin, tokenizer.image_end]
        logits[:, banned] = float("-inf")
        first = int(logits.argmax())
        assert text.startswith(tokenizer.decode([first])) or first == tokenizer.end
    alone = Generator(world_model, generator.config).caption(frame(8)[None])
    assert alone == texts[1:]


def test_drawing_is_the_frame_after_a_caption(world_model, reference):
    texts = ["a wall ahead", "turn left, then go forward two metres"]
    found = Generator(world_model, CONFIG).draw_latents(texts)
    noise = torch.randn(2, NUM_LATENTS, CHANNELS, generator=generator_for(CONFIG.seed, "noise"))
    for row, text in enumerate(texts):
        torch.testing.assert_close(found[row], reference.frame([text], noise[row], CONFIG), **TOLERANCE)
    assert Generator(world_model, CONFIG).draw(texts).shape == (2, 8, 8, 3)


def test_named_drawings_are_functions_of_seed_and_name(world_model, reference):
    texts, names = ["a wall ahead", "turn left", "two metres"], ["a.png", "b.png", "c.png"]
    generator = Generator(world_model, CONFIG)
    found = generator.draw_latents(texts, names=names)
    noise = torch.randn(NUM_LATENTS, CHANNELS, generator=generator_for(CONFIG.seed, "noise/b.png"))
    torch.testing.assert_close(found[1], reference.frame([texts[1]], noise, CONFIG), **TOLERANCE)
    # Neither what was drawn before nor what is drawn beside changes a picture.
    torch.testing.assert_close(
        generator.draw_latents(texts[:0:-1], names=names[:0:-1]), found[[2, 1]], **TOLERANCE
    )
    with pytest.raises(ValueError, match="a name for each of 3 texts"):
        generator.draw(texts, names=names[:2])


@pytest.mark.parametrize("instruction", ["turn left 30 degrees", ACTION])
def test_editing_is_a_step_of_the_world_model(world_model, frame, instruction):
    found = Generator(world_model, CONFIG).edit_latents(frame(7)[None], [instruction])
    rollout = world_model.rollout(
        world_model.encode_context(frame(7)[None, None]),
        [[[instruction]]],
        num_steps=2,
        generator=generator_for(CONFIG.seed, "noise"),
        guidance=3.0,
        sampler=Sampler.heun,
    )
    torch.testing.assert_close(found, rollout[:, 0, 0], **TOLERANCE)


def test_editing_may_write_the_action_first(world_model, latents, reference, follow, frame):
    command = "turn left 30 degrees"
    follow([ACTION, None])
    found = Generator(world_model, CONFIG).edit_latents(frame(7)[None], [command], writes_action=True)
    noise = torch.randn(1, NUM_LATENTS, CHANNELS, generator=generator_for(CONFIG.seed, "noise"))
    expected = reference.frame([latents.table[7], command, ACTION], noise[0], CONFIG)
    torch.testing.assert_close(found[0], expected, **TOLERANCE)


def test_nats_of_answers_equal_those_of_whole_documents(world_model, latents, reference, frame):
    questions = ["a wall ahead", "how many metres to go"]
    answers = [["turn left", ACTION, ""], ["two", "a", "12.5 metres"]]
    found = Generator(world_model).answer_nats(torch.stack([frame(5), frame(8)]), questions, answers)
    assert found.shape == (2, 3)
    for row, number in enumerate((5, 8)):
        for column, answer in enumerate(answers[row]):
            num_last = len(world_model.tokenizer.encode(answer)) + 1
            pieces = [latents.table[number], questions[row], answer]
            expected = reference.nats(pieces, num_last=num_last)
            torch.testing.assert_close(found[row, column], expected, atol=1e-3, rtol=1e-4)


def test_nats_of_captions_equal_those_of_whole_documents(world_model, latents, reference):
    texts = ["a wall ahead", "go 12"]
    found = Generator(world_model).caption_nats(latents.table[5:7], texts)
    for row, text in enumerate(texts):
        num_last = len(world_model.tokenizer.encode(text)) + 1
        expected = reference.nats([latents.table[5 + row], text], num_last=num_last)
        torch.testing.assert_close(found[row], expected, atol=1e-3, rtol=1e-4)


def test_drawn_frames_may_come_noised_into_the_history(world_model, reference, follow):
    """What is returned is clean; the next frame sees it noised, and as of that time."""
    config = GenerationConfig(frame=CONFIG.frame, text=CONFIG.text, history_noise=0.2)
    follow(["a", None, "go", None, "a"])
    (found,) = Generator(world_model, config).continue_pieces([["a wall"]])
    first, second = (piece for piece in found.pieces if isinstance(piece, torch.Tensor))
    stream = generator_for(CONFIG.seed, "noise")
    start, mixed_in, later = (torch.randn(1, NUM_LATENTS, CHANNELS, generator=stream)[0] for _ in range(3))
    expected = reference.frame(["a wall", "a"], start, CONFIG)
    torch.testing.assert_close(first, expected, **TOLERANCE)
    history = 0.8 * first + 0.2 * mixed_in
    expected = reference.frame(["a wall", "a", history, "go"], later, config)
    torch.testing.assert_close(second, expected, **TOLERANCE)


def test_drawn_texts_come_from_the_seed(world_model, frame):
    def captions(seed: int) -> list[str]:
        text = TextSampling(temperature=2.0, max_tokens=12)
        return Generator(world_model, GenerationConfig(text=text, seed=seed)).caption(frame(5)[None])

    assert captions(1) == captions(1) != captions(2)


def test_limits_stop_documents(world_model, follow):
    settings = GenerationConfig(text=TextSampling(max_tokens=3), frame=CONFIG.frame, max_frames=1)
    follow(["turn left, then go"], [None, None])
    texts, frames = Generator(world_model, settings).continue_document([["a"], []])
    assert len(texts) == 1 and len(frames) == 1 and isinstance(frames[0], torch.Tensor)
    assert frames[0].shape == (8, 8, 3)


def test_what_does_not_fit_is_refused(world_model, latents, frame):
    generator = Generator(world_model)
    with pytest.raises(ValueError, match="list of 1 texts"):
        generator.answer(frame(5)[None], ["one", "two"])
    with pytest.raises(ValueError, match="equally many texts"):
        generator.answer_nats(torch.stack([frame(5)] * 2), ["one", "two"], [["a"], ["a", "b"]])
    with pytest.raises(ValueError, match="not an action"):
        generator.edit(frame(5)[None], ["action: go"])
    with pytest.raises(ValueError, match="at least one text"):
        generator.draw([])
    with pytest.raises(ValueError, match="history_noise"):
        GenerationConfig(history_noise=1.0)
    with pytest.raises(ValueError, match="num_steps must be at least 1"):
        FrameSampling(num_steps=0)
