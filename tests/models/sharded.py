"""`jurist` where accelerate spreads weights: it does so on GPUs only, so it is told that the CPU is one."""

import os

import torch

os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
torch.set_num_threads(1)
from accelerate import PartialState  # noqa: E402
from accelerate.utils import DistributedType  # noqa: E402

PartialState._prepare_backend = lambda self, *_: ("gloo", DistributedType.MULTI_GPU)
torch.accelerator.is_available = lambda *_, **__: True

from jurist.cli.app import main  # noqa: E402

main()
