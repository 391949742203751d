"""Limits of one photo: memory, estimated from its header, and time."""

from dataclasses import dataclass, replace

import torch
from torch import nn

from onlymymodel.data.image_io import Header
from onlymymodel.data.strips import STRIP_PIXELS
from onlymymodel.errors import UserError
from onlymymodel.protect.context import Context
from onlymymodel.protect.memory_limit import DEFAULT, MemorySize, free_bytes, resident_bytes
from onlymymodel.protect.working_shape import working_shape
from onlymymodel.surrogates.classifier import Classifier

# beginnings of reasons; another run, with other limits, tries such photos again
TOO_MUCH_MEMORY, TOO_MUCH_TIME = "needs about", "took longer than"

GIB = 1 << 30
# Bytes for each value (pixel and channel) of a photo, rounded up from what benchmarks/memory.py measures: what each
# photo of a batch holds all the time, and what the one that is at work takes besides.
HELD, AT_WORK, AT_WORK_ON_DEVICE = 3, 8, 6
STRIP = 400 << 20  # bytes, of the strips of rows in which large photos are worked on
WORKING = 220  # bytes for each value of a photo at working size while it is optimized
PURIFIER = 92  # bytes for each value at working size, of the graph of the purifier in the attack's way
LPIPS = 150  # bytes for each value, of the network of that bound, which works at the photo's own size
GRAPH = 2  # times the outputs of a network's layers: what a gradient through it keeps


@dataclass(frozen=True)
class Limits:
    """Limits of one process; the results do not depend on them, except that photos outside of them have none.

    Attributes:
        memory: bytes of the process in all; None for no limit.
        resident: bytes that it takes before the first photo.
        networks: bytes that one photo takes in the networks.
        seconds: for each photo; None for no limit.
    """

    memory: int | None = None
    resident: int = 0
    networks: int = 0
    seconds: float | None = None

    @classmethod
    def of(
        cls, context: Context, memory: MemorySize | None = None, seconds: float | None = None, workers: int = 1
    ) -> "Limits":
        """Return the limits of each process of a run, whose models are loaded.

        Args:
            context: models and settings.
            memory: of all processes together; None for the default.
            seconds: see `Limits`.
            workers: number of processes.

        Raises:
            UserError: the models alone take more.
        """
        resident = resident_bytes()
        total = (memory or MemorySize.parse(DEFAULT)).in_bytes(resident, free_bytes())
        if total <= resident:
            raise UserError(
                f"the libraries and models take {gib(resident)}, which leaves nothing for photos: give more by --memory"
            )
        return cls(total, resident, _network_bytes(context), seconds).shared_by(workers)

    def shared_by(self, workers: int) -> "Limits":
        """Return the limits of each of several processes, which load their own models beside this one.

        Raises:
            UserError: the models alone take more.
        """
        if self.memory is None or workers == 1:
            return self
        share = (self.memory - self.resident) // workers
        if share <= self.resident:
            raise UserError(
                f"the libraries and models take {gib(self.resident)} in each of {workers} processes, which leaves "
                "nothing for photos: give more by --memory, or fewer --workers"
            )
        return replace(self, memory=share)

    def fits(self, header: Header, context: Context, photos: int = 1) -> bool:
        """Return whether as many photos of one size, in one batch, are inside the limit of memory."""
        return self.memory is None or self.need(header, context, photos) <= self.memory

    def need(self, header: Header, context: Context, photos: int = 1) -> int:
        """Return about how many bytes the process takes while photos of one size are protected in one batch."""
        values = header.width * header.height * header.channels
        working = working_shape(header.height, header.width, header.channels, context.recipe)
        on_cpu = context.device.type == "cpu"
        per_value = WORKING + (PURIFIER if "purifier" in context.recipe.against else 0)
        strip = int(STRIP * min(1.0, header.width * header.height / STRIP_PIXELS))
        held = HELD * values + (per_value * working[0] * working[1] * working[2] + self.networks if on_cpu else 0)
        at_work = (AT_WORK if on_cpu else AT_WORK_ON_DEVICE) * values + strip
        if on_cpu and context.budget.lpips is not None:
            at_work += LPIPS * values
        return self.resident + photos * held + at_work

    def refusal(self, header: Header, context: Context) -> str | None:
        """Return why a photo is not even decoded; None if it is inside the limit of memory."""
        if self.memory is None or self.fits(header, context):
            return None
        size = f"{header.width}x{header.height} pixels"
        need = gib(self.need(header, context))
        return f"{TOO_MUCH_MEMORY} {need} of memory for its {size}, the limit is {gib(self.memory)} (--memory)"


UNLIMITED = Limits()


def gib(size: int) -> str:
    """Return a number of bytes in GiB, in words."""
    return f"{size / GIB:.1f} GiB"


def _network_bytes(context: Context) -> int:
    """Return about how much one photo takes in the network of the models that takes most: one is at work at a time."""
    return max(GRAPH * _output_bytes(model) for model in (context.authorized, *context.surrogates))


@torch.inference_mode()
def _output_bytes(model: Classifier) -> int:
    """Return the size of the outputs of all layers of a network for one photo."""
    total = 0

    def count(_module: nn.Module, _inputs: object, output: object) -> None:
        nonlocal total
        if isinstance(output, torch.Tensor):
            total += output.numel() * output.element_size()

    # TorchScript has no hooks: its layers are not counted
    modules = [module for module in model.net.modules() if not isinstance(module, torch.jit.ScriptModule)]
    layers = [module for module in modules if not any(True for _ in module.children())]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        preprocess = model.card.preprocess
        model.logits(torch.zeros(1, 3, preprocess.height, preprocess.width, device=model.mean.device))
    finally:
        for hook in hooks:
            hook.remove()
    return total
