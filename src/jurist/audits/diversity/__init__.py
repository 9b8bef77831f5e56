"""Whether answers grow alike: from one generation of a loop to the next, or among the policies of a run.

A loop that learns from its own answers contracts, and choosing the best of them makes it contract faster
(Alemohammad et al. 2023): quality may hold while rare but good answers die out.
"""

from .findings import ALARM, diversity
from .generation import Generation, of_sheet
from .meaning import encoder
from .policies import of_policies

__all__ = ["ALARM", "Generation", "diversity", "encoder", "of_policies", "of_sheet"]
