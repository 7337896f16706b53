"""Where a training runs: on a GPU when there is one, on several through torchrun, else on the CPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from worker.errors import Rejected


@dataclass(frozen=True, kw_only=True)
class Place:
    """One process of a training: its device, and which of how many it is."""

    device: torch.device
    """cpu or cuda:N."""
    rank: int = 0
    """From 0; the first one writes files and tells."""
    world: int = 1
    """How many processes share each step."""

    @property
    def leads(self) -> bool:
        """Whether this process writes and tells."""
        return self.rank == 0

    def autocast(self) -> torch.autocast:
        """Convolutions and products in bf16, which needs no loss scaling; both devices have it."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def optimiser(self, groups: list[dict]) -> torch.optim.AdamW:
        """AdamW, one kernel for all parameters where there are kernels."""
        return torch.optim.AdamW(groups, fused=True)

    def shared(self, network: nn.Module) -> nn.Module:
        """The network with gradients averaged over all processes."""
        if self.world == 1:
            return network
        return DistributedDataParallel(network)

    def wait(self) -> None:
        """Until every process has come here."""
        if self.world > 1:
            distributed.barrier()

    def own_rows(self, size: int) -> slice:
        """This process's share of a batch: neighbours, so that both classes are in it."""
        share = size // self.world
        return slice(self.rank * share, (self.rank + 1) * share)


@contextmanager
def training_place(asked: str = "auto", batch_size: int = 1) -> Iterator[Place]:
    """The place of this process; joins the others when torchrun started it.

    `asked`: auto, cpu or cuda. Raises Rejected("DEVICE_ABSENT", "BATCH_NOT_DIVISIBLE").
    """
    cuda = torch.cuda.is_available() if asked == "auto" else asked == "cuda"
    if cuda and not torch.cuda.is_available():
        raise Rejected(
            "DEVICE_ABSENT",
            "cuda was asked for, but no CUDA device is visible here. Check the driver and "
            "CUDA_VISIBLE_DEVICES, or leave the choice to auto.",
        )
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rank, local = int(os.environ.get("RANK", "0")), int(os.environ.get("LOCAL_RANK", "0"))
    if batch_size % (2 * world) and world > 1:
        raise Rejected(
            "BATCH_NOT_DIVISIBLE",
            f"batch_size is {batch_size} and {world} processes share it; expected a multiple of "
            f"{2 * world}, so that each gets equally many of both classes.",
        )
    device = torch.device(f"cuda:{local}" if cuda else "cpu")
    if world == 1:
        yield Place(device=device)
        return
    if cuda:
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Place(device=device, rank=rank, world=world)
    finally:
        distributed.destroy_process_group()
