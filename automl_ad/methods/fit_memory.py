"""What a fit holds in memory: estimated before it begins, so that its data go where there is room for them.

Features of training pairs are computed once and kept for the whole training. They lie on the device where that has room
for them, else in host memory, from where every batch is sent to the device. Where even a batch does not fit on a GPU,
its gradients are accumulated over equal parts of it. On a CPU nothing is divided: results must not depend on what else
runs there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from automl_ad.errors import NotEnoughMemoryError
from automl_ad.memory import format_bytes, free_bytes

_log = logging.getLogger(__name__)

DEVICE_SHARE = 0.9
"""Share of a GPU's memory that this program takes at most; the rest is left to the system and to other programs."""
HOST = torch.device("cpu")
_PROBED = 2
"""Examples of the step whose memory is estimated: batch norm needs two."""


@dataclass(frozen=True)
class FitNeed:
    """Bytes that a fit holds at once, beside images and backbone; meant to be right within a factor of two.

    Attributes:
        fixed: What must lie on the device: weights, their gradients and the optimiser's moments, memory banks, moments
            of features, and the features of the images in work.
        stored: Training data that are computed once; they may lie in host memory.
        host: What lies in host memory in any case, such as pairs of images.
        example: What one example of a batch adds to a training step.
        batch: Examples per training step.
        least: Fewest examples in a part of a batch; batch norm needs two.
    """

    fixed: float = 0.0
    stored: float = 0.0
    host: float = 0.0
    example: float = 0.0
    batch: int = 1
    least: int = 1

    def with_training(
        self, model: nn.Module, *, example: float, batch: int, stored: float, host: float = 0.0
    ) -> FitNeed:
        """This need and that of a training with Adam, whose networks contain batch norm; see the attributes."""
        fixed = self.fixed + weights_bytes(model)
        return FitNeed(fixed=fixed, stored=stored, host=host, example=example, batch=batch, least=2)

    def on_device(self, placement: Placement) -> float:
        """Bytes that it takes on the device of a placement."""
        held = self.stored if placement.store == placement.device else 0.0
        held += self.host if placement.device == HOST else 0.0
        return self.fixed + held + self.example * self.batch / placement.accumulate

    def on_host(self, placement: Placement) -> float:
        """Bytes that it takes in host memory beside a GPU; 0 where the host is the device."""
        if placement.device == HOST:
            return 0.0
        return self.host + (self.stored if placement.store == HOST else 0.0)


@dataclass(frozen=True)
class Placement:
    """Where a fit keeps its training data, and in how many parts it computes the gradients of a batch.

    Attributes:
        device: Where it trains.
        store: Where training data lie.
        accumulate: Parts of a batch, each of ``batch / accumulate`` examples.
    """

    device: torch.device
    store: torch.device
    accumulate: int = 1


def place(need: FitNeed, device: torch.device) -> Placement:
    """Finds room for a fit.

    Args:
        need: Of the fit.
        device: Where it trains.

    Returns:
        The first of these that fits: all on the device; training data in host memory; on a GPU, the same with batches
        in ever smaller parts.

    Raises:
        NotEnoughMemoryError: None fits; the message gives the least that would do.

    Example:
        >>> place(FitNeed(fixed=1e6, stored=1e6, example=1e3, batch=16), torch.device("cpu"))
        Placement(device=device(type='cpu'), store=device(type='cpu'), accumulate=1)
    """
    free, beside = device_free_bytes(device), free_bytes()
    options = list(_options(need, device))
    for placement in options:
        there, here = need.on_device(placement), need.on_host(placement)
        if (free is None or there <= free) and (beside is None or here <= beside):
            if placement.accumulate > 1:
                _log.warning(
                    "Batches of %d do not fit on the GPU; their gradients are accumulated over %d parts.",
                    need.batch,
                    placement.accumulate,
                )
            return placement
    raise NotEnoughMemoryError(_shortage(need, options, free, beside))


def device_free_bytes(device: torch.device) -> float | None:
    """Bytes that this process may still take on a device; None if that is unknown."""
    if device.type != "cuda":
        return free_bytes()
    free, total = torch.cuda.mem_get_info(device)
    own = torch.cuda.memory_allocated(device)
    kept = torch.cuda.memory_reserved(device) - own  # of this process, but not in use
    return max(0.0, min(float(free + kept), DEVICE_SHARE * total - own))


def weights_bytes(model: nn.Module) -> float:
    """Bytes of a model in training with Adam: each weight beside its gradient and two moments."""
    return 4.0 * 4.0 * sum(weight.numel() for weight in model.parameters())


def activation_bytes(loss: Callable[[int], Tensor]) -> float:
    """Bytes that a training step holds for one example: the tensors that autograd keeps for the gradients.

    Args:
        loss: The loss of so many examples, on the device ``meta``, where tensors have shapes and no values: no time and
            no memory is spent.

    Returns:
        Bytes of tensors in float32; half precision takes less.
    """
    kept: dict[int, Tensor] = {}

    def note(tensor: Tensor) -> Tensor:
        source = tensor if tensor._base is None else tensor._base  # layers keep their weights transposed
        if not (source.is_leaf and source.requires_grad):
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        graph = loss(_PROBED)
    held = float(sum(tensor.untyped_storage().nbytes() for tensor in kept.values()))
    del graph
    return held / _PROBED


def store_half(batches: Iterable[Sequence[Tensor]], count: int, store: torch.device) -> list[Tensor]:
    """Joins batches as float16 tensors on ``store``.

    Each is allocated once, as ``torch.cat`` of a list would need several gigabytes twice.

    Args:
        batches: Tensors of b examples each, [b, ...].
        count: Examples of all batches.
        store: Where the results lie.

    Returns:
        As many tensors as each batch has, [count, ...].
    """
    whole: list[Tensor] = []
    filled = 0
    for batch in batches:
        if not whole:
            whole = [torch.empty(count, *part.shape[1:], dtype=torch.float16, device=store) for part in batch]
        for tensor, part in zip(whole, batch, strict=True):
            tensor[filled : filled + len(part)] = part.half()
        filled += len(batch[0])
    return whole


def take_rows(stored: Tensor, rows: Tensor, device: torch.device) -> Tensor:
    """The given rows, on ``device``, wherever they are stored."""
    return stored[rows.to(stored.device)].to(device, non_blocking=True)


def _options(need: FitNeed, device: torch.device) -> Iterator[Placement]:
    """The placements, each with less on the device than the one before, or as little."""
    parts = 1
    while parts == 1 or (device != HOST and need.batch % parts == 0 and need.batch // parts >= need.least):
        for store in dict.fromkeys((device, HOST)):
            yield Placement(device, store, parts)
        parts *= 2


def _shortage(need: FitNeed, options: Sequence[Placement], free: float | None, beside: float | None) -> str:
    least = min(map(need.on_device, options))
    if free is not None and least > free:
        where = "are free" if options[0].device == HOST else "of the GPU's are free"
        return f"The fit needs about {format_bytes(least)} of memory, but {format_bytes(free)} {where}."
    data, beside = min(map(need.on_host, options)), beside or 0
    return f"The fit needs about {format_bytes(data)} of host memory too, but {format_bytes(beside)} are free."
