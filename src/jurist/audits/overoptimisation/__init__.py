"""Whether a policy learns what is wrong with its reward: Gao, Schulman and Hilton 2022.

The further a policy moves from its start, the higher a reward rises that it is trained on; what the reward
stands for rises with it at first, and then falls. Seen in time from the outside, that has a forecast.
"""

from .best_of_n import best_of_n_curve, best_of_n_kl, tied_kl
from .findings import best_of_n, overoptimisation, past_peak, to_use, turned
from .forecast import Checkpoint, Fit, fitted

__all__ = [
    "Checkpoint",
    "Fit",
    "best_of_n",
    "best_of_n_curve",
    "best_of_n_kl",
    "fitted",
    "overoptimisation",
    "past_peak",
    "tied_kl",
    "to_use",
    "turned",
]
