"""The other side of `bench_transfusion_pytorch`, run by the interpreter that has `transfusion-pytorch`.

Reads requests as lines of JSON and answers each with one. Imports nothing of this repository, and needs
torch, numpy and `transfusion-pytorch` (0.20 was measured).

Run with `python -O`: without U-Net skips version 0.20 fails an assertion of its own that they were used up.

What the package has beyond a transformer is switched off where it has a switch: U-Net skips, gated values, an
average of the weights, dropped conditions. Its adaptive norms, tanh over scores and attention over the
outputs of all blocks have none. A frame's tokens lie in one axis, which needs the fewest marker tokens.
"""

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch


class Peer:
    """A model, its optimiser and the documents of one batch."""

    def __init__(self, request: dict[str, Any]) -> None:
        from transfusion_pytorch import Transfusion  # pyright: ignore[reportMissingImports]

        torch.set_num_threads(1)
        self._request = request
        self._length = 0
        self.model = Transfusion(
            num_text_tokens=request["vocab_size"],
            dim_latent=request["latent_channels"],
            modality_default_shape=(request["num_latents"],),
            model_output_clean=True,
            prob_uncond=0.0,
            transformer=dict(
                dim=request["width"],
                depth=request["num_blocks"],
                heads=request["num_heads"],
                dim_head=request["width"] // request["num_heads"],
                # Its hidden layer has two thirds of this times the width.
                ff_expansion_factor=1.5 * request["hidden"] / request["width"] + 1e-6,
                unet_skips=False,
                attn_kwargs=dict(gate_values=False),
            ),
        )
        self._dtype = torch.bfloat16 if request["mode"] == "cast" else torch.float32
        self.model.to(self._dtype)
        self.model.transformer.register_forward_pre_hook(self._note_length)
        self._optimiser = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)
        self._documents = self._make_documents()

    def sizes(self) -> dict[str, object]:
        """Return what was built."""
        return {
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "tokens_per_row": self._length,
            "hidden": self.model.transformer.layers[0][2].fn.net[-1].in_features,
            "torch": torch.__version__,
        }

    def step(self) -> dict[str, float]:
        """Make one training step."""
        start_s, start_core_s = time.perf_counter(), time.process_time()
        loss = self._loss()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimiser.step()
        self._optimiser.zero_grad()
        return {
            "s": time.perf_counter() - start_s,
            "core_s": time.process_time() - start_core_s,
            "loss": loss.item(),
        }

    def _loss(self) -> torch.Tensor:
        # Its own times are float32, which a model in bfloat16 refuses.
        times = torch.rand(len(self._documents), self._request["num_frames"]).to(self._dtype)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._request["mode"] == "autocast"):
            return self.model([list(document) for document in self._documents], times=times)

    def _make_documents(self) -> list[list[torch.Tensor]]:
        """Return one document a row, as long as asked for once its markers are added."""
        request = self._request
        lengths = [request["text_length"]] * request["num_frames"]
        for _ in range(2):  # the first row is too short or too long by what the markers take
            self._documents = [self._document(lengths) for _ in range(request["num_rows"])]
            with torch.no_grad():
                self._loss()
            lengths[0] += request["tokens_per_row"] - self._length
        if self._length != request["tokens_per_row"]:
            raise ValueError(f"needed rows of {request['tokens_per_row']} tokens, made {self._length}")
        return self._documents

    def _document(self, lengths: list[int]) -> list[torch.Tensor]:
        request = self._request
        document = []
        for length in lengths:
            document.append(torch.randint(0, request["vocab_size"], (length,)))
            document.append(torch.randn(request["num_latents"], request["latent_channels"]).to(self._dtype))
        return document

    def _note_length(self, module: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        self._length = arguments[0].shape[1]


def masks(request: dict[str, Any]) -> dict[str, object]:
    """Return its two masks of a row as strings of 0 and 1, given where frames lie in it."""
    from transfusion_pytorch.transfusion import (  # pyright: ignore[reportMissingImports]
        naive_attn_mask,
        transfusion_attn_mask,
    )

    num_tokens = request["num_tokens"]
    positions = torch.tensor([[[0, offset, length] for offset, length in request["frames"]]])
    naive = naive_attn_mask(num_tokens, positions)[0]
    index = torch.arange(num_tokens)
    by_index = transfusion_attn_mask(positions)(torch.tensor(0), None, index[:, None], index[None, :])
    found = {"naive": naive, "by_index": by_index}
    return {name: np.packbits(mask.numpy()).tobytes().hex() for name, mask in found.items()}


def peak_bytes() -> int:
    """Return the largest resident memory of this process so far; `getrusage` would count its parent's."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    if found is None:
        raise RuntimeError("/proc/self/status has no VmHWM: peak memory is read on Linux alone")
    return 1024 * int(found[1])


def main() -> None:
    """Answer requests until the input ends."""
    peer: Peer | None = None
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, object]
        match request["do"]:
            case "make":
                try:
                    peer = Peer(request)
                    peer.step()
                    answer = peer.sizes() | {"peak_bytes_before": peak_bytes()}
                except (RuntimeError, TypeError, ValueError) as error:
                    answer = {"refused": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
            case "step":
                if peer is None:
                    raise ValueError("needed `make` before `step`")
                answer = {**peer.step(), "peak_bytes": peak_bytes()}
            case "masks":
                answer = masks(request)
            case other:
                raise ValueError(f"unknown request {other!r}")
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
