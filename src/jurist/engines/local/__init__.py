"""A Hugging Face checkpoint in this process, as a policy or as a judge: `hf:./checkpoint`, `hf:org/name`.

`checkpoint` opens a folder, `forward` reads prompts (what many share once), `generate` writes answers,
`weigh` gives the log-probs of the labels on offer without writing any, and `engine` brings together what
arrives together.
"""

from .checkpoint import weights_hash
from .engine import MOST_ROWS, Local, open_local

__all__ = ["MOST_ROWS", "Local", "open_local", "weights_hash"]
