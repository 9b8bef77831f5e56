"""A Hugging Face checkpoint in this process, as a policy or as a judge: `hf:./checkpoint`, `hf:org/name`.

`checkpoint` opens a folder; `forward` reads prompts, what many share once, over a `tree` with the
attention of `attend`; `sampler` writes token by token and `generate` answers with it; `weigh` gives
the log-probs of the labels on offer without writing any; `engine` brings together what arrives
together.
"""

from .engine import MOST_ROWS, Local, open_local

__all__ = ["MOST_ROWS", "Local", "open_local"]
