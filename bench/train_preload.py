"""What all sides need, loaded once; each side's process starts as a copy of this one."""

import os

CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()

import datasets  # noqa: E402, F401
import torch  # noqa: E402
import transformers  # noqa: E402, F401
import trl.trainer.dpo_trainer  # noqa: E402
import trl.trainer.reward_trainer  # noqa: E402, F401

import jurist.models.dpo  # noqa: E402
import jurist.models.reward  # noqa: E402, F401

torch.set_num_threads(1)
if CORES:
    # Loading TRL can leave the process on another core than it was put on.
    os.sched_setaffinity(0, CORES)
