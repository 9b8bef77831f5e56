"""`jurist`, in processes that tests start. Accelerate shards weights on GPUs only: where that is asked for,
it is told that the CPU is one."""

import os

import torch

torch.set_num_threads(1)
if os.environ.get("JURIST_TEST_SHARDED"):
    os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    from accelerate import PartialState
    from accelerate.utils import DistributedType

    PartialState._prepare_backend = lambda self, *_: ("gloo", DistributedType.MULTI_GPU)
    torch.accelerator.is_available = lambda *_, **__: True

from jurist.cli.app import main  # noqa: E402

main()
