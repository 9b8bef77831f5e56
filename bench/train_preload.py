"""What all sides need, loaded once; each side's process starts as a copy of this one."""

import datasets  # noqa: F401
import torch
import transformers  # noqa: F401
import trl.trainer.dpo_trainer
import trl.trainer.reward_trainer  # noqa: F401

import jurist.models.dpo
import jurist.models.reward  # noqa: F401

torch.set_num_threads(1)
