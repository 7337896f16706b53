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
class TrainingDevice:
    """One process of a training: its device, and which of how many processes it is."""

    device: torch.device
    """cpu or cuda:N."""
    rank: int = 0
    """From 0; the first one writes files and prints."""
    world_size: int = 1
    """How many processes share each step."""

    @property
    def is_main(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def autocast(self) -> torch.autocast:
        """Convolutions and products in bf16, which needs no loss scaling; both devices have it."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def distribute(self, network: nn.Module) -> nn.Module:
        """The network with gradients averaged over all processes."""
        return network if self.world_size == 1 else DistributedDataParallel(network)

    def barrier(self) -> None:
        """Wait until every process has come here."""
        if self.world_size > 1:
            distributed.barrier()

    def broadcast(self, value: float | None) -> float | None:
        """The main process's value, in every process."""
        if self.world_size == 1:
            return value
        shared = torch.tensor([value or 0.0], dtype=torch.float64, device=self.device)
        distributed.broadcast(shared, 0)
        return float(shared)

    def local_rows(self, size: int) -> slice:
        """This process's rows of a batch: neighbours, so that both classes are among them."""
        share = size // self.world_size
        return slice(self.rank * share, (self.rank + 1) * share)


@contextmanager
def training_device(requested: str = "auto", batch_size: int = 1) -> Iterator[TrainingDevice]:
    """The device of this process; joins the others when torchrun started it.

    `requested`: auto, cpu or cuda. Raises Rejected("DEVICE_ABSENT", "BATCH_NOT_DIVISIBLE").
    """
    cuda = torch.cuda.is_available() if requested == "auto" else requested == "cuda"
    if cuda and not torch.cuda.is_available():
        raise Rejected(
            "DEVICE_ABSENT",
            "cuda was asked for, but no CUDA device is visible here. Check the driver and "
            "CUDA_VISIBLE_DEVICES, or leave the choice to auto.",
        )
    rank, local, world_size = (
        int(os.environ.get(name, default))
        for name, default in (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "1"))
    )
    if batch_size % (2 * world_size) and world_size > 1:
        raise Rejected(
            "BATCH_NOT_DIVISIBLE",
            f"batch_size is {batch_size} and {world_size} processes share it; expected a multiple "
            f"of {2 * world_size}, so that each gets equally many of both classes.",
        )
    device = torch.device(f"cuda:{local}" if cuda else "cpu")
    if world_size == 1:
        yield TrainingDevice(device=device)
        return
    if cuda:
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield TrainingDevice(device=device, rank=rank, world_size=world_size)
    finally:
        distributed.destroy_process_group()
