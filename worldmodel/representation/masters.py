"""Master weights: AdamW in float32 for a module that computes in another precision."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn


class MasterWeights:
    """The float32 weights of a module, their optimiser, and the module, which computes in low precision.

    bfloat16 holds 8 significant bits, so an update of less than 1/256 of a weight would be lost in it. The
    module is cast to `dtype` in place; only its parameters that require gradients are trained.
    """

    def __init__(
        self, module: nn.Module, *, dtype: torch.dtype, weight_decay: float, betas: tuple[float, float]
    ) -> None:
        self._working = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self._masters = {name: p.detach().float().clone() for name, p in self._working.items()}
        nn.Module.to(module, dtype=dtype)
        # Matrices decay; biases, norms and single tokens do not.
        decaying = [master for master in self._masters.values() if master.ndim > 1 and master.shape[0] > 1]
        others = [master for master in self._masters.values() if master.ndim <= 1 or master.shape[0] == 1]
        groups = [{"params": decaying, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
        self._optimiser = torch.optim.AdamW(groups, betas=betas, foreach=True)
        self.step_count = 0

    def step(self, loss: Float[Tensor, ""], *, learning_rate: float, max_norm: float) -> Float[Tensor, ""]:
        """Do one update; return the norm of the gradient before it was cut to `max_norm`.

        FloatingPointError, before anything is updated, if the loss or its gradient is not finite.
        """
        loss.backward()
        for name, working in self._working.items():
            gradient = working.grad
            self._masters[name].grad = (
                torch.zeros_like(self._masters[name]) if gradient is None else gradient.float()
            )
            working.grad = None
        norm = nn.utils.clip_grad_norm_(list(self._masters.values()), max_norm)
        if not (loss.isfinite() and norm.isfinite()):
            raise FloatingPointError(
                f"in step {self.step_count + 1} the loss is {loss.item()} and its gradient has the norm "
                f"{norm.item()}; the last checkpoint is kept: train from the beginning with a lower "
                "learning_rate, into another folder"
            )
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate
        self._optimiser.step()
        self.step_count += 1
        self._write_back()
        return norm

    def state(self) -> dict[str, Tensor]:
        """Return weights and optimiser state as named tensors."""
        tensors = {f"weight/{name}": master for name, master in self._masters.items()}
        for name, master in self._masters.items():
            for key, value in self._optimiser.state[master].items():
                tensors[f"{key}/{name}"] = value
        return tensors

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor], *, step_count: int) -> None:
        """Take over what `state` returned after `step_count` updates."""
        for name, master in self._masters.items():
            master.copy_(tensors[f"weight/{name}"])
            if step_count:
                moments = {key: tensors[f"{key}/{name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
                # AdamW wants its step count on the CPU, the moments beside the weights.
                self._optimiser.state[master] = {
                    key: value.clone() if key == "step" else value.to(master)
                    for key, value in moments.items()
                }
        self.step_count = step_count
        self._write_back()

    @torch.no_grad()
    def _write_back(self) -> None:
        for name, working in self._working.items():
            working.copy_(self._masters[name])
