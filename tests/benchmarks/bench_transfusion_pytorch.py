"""A training step beside that of `transfusion-pytorch` (PyPI, MIT), and both masks, as JSON.

`python -m tests.benchmarks.bench_transfusion_pytorch peer=PYTHON [repeats=5] [rows=4]
[precisions=float32,bfloat16]`, where PYTHON is the interpreter of an environment of its own that has
`transfusion-pytorch` and the same torch. Each side runs in its own interpreter and process; they take turns,
on one thread each.

Equal on both sides: width, depth, heads, hidden layer, rows, tokens a row, frames, latents a frame, the
vocabulary of text, dtype, AdamW and the clipping of gradients. `equal` is nano with what the other side has:
one feed-forward layer for all tokens, no shared keys, AdamW. `nano` is the preset as it is trained: Muon, a
layer for each modality, two heads a key. Our steps include packing, noise and the moving average of weights,
theirs the processing of documents inside their forward pass. In bfloat16 the other side runs under autocast
and with its weights cast; the faster counts (version 0.20 refuses cast weights: its own random floats are
float32). CPU time, since other work on the machine disturbs wall time.
"""

import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from data_tools.documents import Document, FrameKey, Image, Kind, Text
from tests.benchmarks.compose import read_arguments
from tests.benchmarks.peer_transfusion_pytorch import peak_bytes
from tests.worldmodel.golden_families import compose_preset
from worldmodel.attention import hybrid_mask
from worldmodel.batches import Batches
from worldmodel.documents import PackedBatch, Packer
from worldmodel.flow import FlowConfig
from worldmodel.pretrain_config import PretrainConfig
from worldmodel.tokenizer import TextTokenizer
from worldmodel.trainer import make_trainer, train_step

NUM_FRAMES, NUM_LATENTS, LATENT_CHANNELS, TOKENS_PER_ROW = 8, 16, 128, 384
NUM_MASKS = 12
NUM_WARMUP = 2
MODES = {"float32": ("float32",), "bfloat16": ("autocast", "cast")}
EQUAL = {
    "model.feedforward": "shared",
    "model.num_kv_heads": 4,
    "model.action_input": "text",
    "model.tie_embeddings": "false",
    "optimisation.matrices": "adamw",
}


def main() -> None:
    """Compare masks and steps, and print JSON."""
    settings = read_arguments(
        sys.argv[1:], peer="", repeats="5", rows="4", precisions=",".join(MODES), side=""
    )
    if settings.pop("side"):
        _serve(int(settings["rows"]))
        return
    if not Path(settings["peer"]).is_file():
        raise SystemExit(
            f"needed peer=PYTHON, an interpreter with transfusion-pytorch; got {settings['peer']!r}"
        )
    report: dict[str, object] = {**settings, "masks": _compare_masks(settings["peer"])}
    for precision in settings["precisions"].split(","):
        if precision not in MODES:
            raise SystemExit(f"precisions are {', '.join(MODES)}; got {precision!r}")
        report[precision] = _compare_steps(settings, precision, MODES[precision])
    print(json.dumps(report, indent=1))


class Process:
    """One side: a process that answers requests."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    def ask(self, **request: object) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self._process.args} ended with status {self._process.wait()}")
        return json.loads(answer)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def _peer(interpreter: str) -> Process:
    return Process([interpreter, "-O", str(Path(__file__).with_name("peer_transfusion_pytorch.py"))])


def _ours(rows: str) -> Process:
    module = "tests.benchmarks.bench_transfusion_pytorch"
    return Process([sys.executable, "-m", module, "side=ours", f"rows={rows}"])


class Words:
    """A tokenizer's texts of a given number of tokens."""

    def __init__(self) -> None:
        self.tokenizer = TextTokenizer.train(["a b c d"] * 9, 300)
        self.per_word = len(self.tokenizer.encode("a a")) - len(self.tokenizer.encode("a"))

    def text(self, num_tokens: int) -> Text:
        """Return a text of exactly so many tokens."""
        words = " ".join(["a"] * (num_tokens // self.per_word))
        missing = num_tokens - len(self.tokenizer.encode(words))
        words += "a" * missing
        assert len(self.tokenizer.encode(words)) == num_tokens
        return Text(words, 1.0)


class OwnLatents:
    """Latents of every frame, standard normal."""

    num_channels, num_context_channels = LATENT_CHANNELS, 0

    def __init__(self) -> None:
        self._table = torch.randn(
            64, NUM_LATENTS, LATENT_CHANNELS, generator=torch.Generator().manual_seed(0)
        )

    def lookup(self, keys: Any) -> torch.Tensor:
        """Return the latents of frames."""
        return self._table[torch.tensor([key.frame % 64 for key in keys], dtype=torch.long)]


def _packed(words: Words, rows: list[list[int]], *, tokens_per_row: int) -> Callable[[], PackedBatch]:
    """Return what packs one document a row, each text of so many tokens with a frame behind it."""
    packer = Packer(
        words.tokenizer,
        OwnLatents(),
        FlowConfig(),
        num_rows=len(rows),
        tokens_per_row=tokens_per_row,
        latents_per_frame=NUM_LATENTS,
    )
    documents = [
        Document(
            Kind.caption,
            tuple(
                segment
                for index, length in enumerate(lengths)
                for segment in (words.text(length), Image(FrameKey(0, index), is_target=True))
            ),
        )
        for lengths in rows
    ]
    rng = np.random.default_rng(0)

    def pack() -> PackedBatch:
        filled = packer.empty()
        for document in documents:
            assert filled.place(document, packer.length(document))
        return packer.pack(filled, rng=rng)

    return pack


def _compare_masks(interpreter: str) -> dict[str, object]:
    """Compare masks on random documents of texts and frames: ours, and the two of the other side."""
    words, rng, peer = Words(), np.random.default_rng(0), _peer(interpreter)
    compared = []
    for _ in range(NUM_MASKS):
        lengths = rng.integers(1, 20, size=rng.integers(1, 6)).tolist()
        num_tokens = sum(lengths) + len(lengths) * (NUM_LATENTS + 2) + 2
        batch = _packed(words, [lengths], tokens_per_row=num_tokens)()
        frames = [
            [int(inside[0]), len(inside)]
            for number in range(len(lengths))
            for inside in [torch.nonzero(batch.frame[0] == number)[:, 0]]
        ]
        found = peer.ask(do="masks", num_tokens=num_tokens, frames=frames)
        ours = np.packbits(hybrid_mask(batch.reach, batch.frame)[0].numpy()).tobytes().hex()
        compared.append([found["naive"] == ours, found["by_index"] == ours])
    peer.close()
    return {
        "documents": NUM_MASKS,
        "equal_to_naive_attn_mask": sum(naive for naive, _ in compared),
        "equal_to_transfusion_attn_mask": sum(by_index for _, by_index in compared),
    }


def _compare_steps(settings: dict[str, str], precision: str, modes: tuple[str, ...]) -> dict[str, object]:
    """Time steps in turn; every variant has a process of its own, for its memory."""
    rows = int(settings["rows"])
    model = compose_preset("nano").model
    sides = {f"ours_{name}": (_ours(settings["rows"]), name) for name in ("equal", "nano")}
    sides |= {f"theirs_{mode}": (_peer(settings["peer"]), mode) for mode in modes}
    request = {
        "do": "make",
        "precision": precision,
        "vocab_size": 1024,
        "latent_channels": LATENT_CHANNELS,
        "num_latents": NUM_LATENTS,
        "width": model.width,
        "num_blocks": model.num_blocks,
        "num_heads": model.num_heads,
        "hidden": model.image_hidden,
        "num_rows": rows,
        "tokens_per_row": TOKENS_PER_ROW,
        "num_frames": NUM_FRAMES,
        "text_length": (TOKENS_PER_ROW - 2) // NUM_FRAMES - NUM_LATENTS - 5,
    }
    report: dict[str, dict[str, Any]] = {
        name: process.ask(mode=mode, **request) for name, (process, mode) in sides.items()
    }
    running = {name: process for name, (process, _) in sides.items() if "refused" not in report[name]}
    steps: dict[str, list[dict[str, float]]] = {name: [] for name in running}
    for _ in range(NUM_WARMUP + int(settings["repeats"])):
        for name, process in running.items():
            steps[name].append(process.ask(do="step"))
    for process, _ in sides.values():
        process.close()
    num_tokens = rows * TOKENS_PER_ROW
    for name, measured in steps.items():
        core_s = statistics.median(each["core_s"] for each in measured[NUM_WARMUP:])
        wall_s = statistics.median(each["s"] for each in measured[NUM_WARMUP:])
        report[name] |= {
            "step_core_s": round(core_s, 4),
            "tokens_per_core_s": round(num_tokens / core_s),
            "tokens_per_wall_s": round(num_tokens / wall_s),
            "peak_mb": round(measured[-1]["peak_bytes"] / 1e6),
        }
    theirs = max(
        each["tokens_per_core_s"]
        for name, each in report.items()
        if name.startswith("theirs") and name in running
    )
    ratios = {
        name.replace("ours", "ratio"): round(report[name]["tokens_per_core_s"] / theirs, 2)
        for name in running
        if name.startswith("ours")
    }
    return {**report, **ratios}


def _serve(rows: int) -> None:
    """Be our side: answer requests until the input ends."""
    step: Callable[[], dict[str, float]] | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "make":
            step, answer = _make_ours(request, rows)
        else:
            assert step is not None
            answer = step() | {"peak_bytes": peak_bytes()}
        print(json.dumps(answer), flush=True)


def _make_ours(
    request: dict[str, Any], rows: int
) -> tuple[Callable[[], dict[str, float]], dict[str, object]]:
    """Return our step, and what it steps."""
    torch.set_num_threads(1)
    overrides = EQUAL if request["mode"] == "equal" else {}
    config = compose_preset("nano", precision=request["precision"], **overrides)
    words = Words()
    each, more = divmod(TOKENS_PER_ROW - 2, NUM_FRAMES)
    lengths = [each + (index < more) - NUM_LATENTS - 2 for index in range(NUM_FRAMES)]
    pack = _packed(words, [lengths] * rows, tokens_per_row=TOKENS_PER_ROW)
    # Batches are packed here, so that theirs and ours hold the same.
    trainer = make_trainer(
        config, cast(Batches, None), vocab_size=config.vocab_size, latent_channels=LATENT_CHANNELS
    )

    def step() -> dict[str, float]:
        start_s, start_core_s = time.perf_counter(), time.process_time()
        report = train_step(trainer, pack(), config)
        return {
            "s": time.perf_counter() - start_s,
            "core_s": time.process_time() - start_core_s,
            "loss": report.total,
        }

    step()
    return step, _sizes(trainer.model, config) | {"peak_bytes_before": peak_bytes()}


def _sizes(model: torch.nn.Module, config: PretrainConfig) -> dict[str, object]:
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "feedforward": config.model.feedforward.value,
        "matrices": config.optimisation.matrices.value,
        "torch": re.sub(r"\+.*", "", torch.__version__),
    }


if __name__ == "__main__":
    main()
