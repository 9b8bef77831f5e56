"""Several judges, one opinion.

`mean` averages probabilities, `vote` counts heads. Both take for granted that a judge is right more often
than wrong, and that judges do not err together; on adversarial material neither holds, and five judges can
be wrong in chorus. `anchored` learns from people's labels what each judge's word is worth, which may be
less than nothing: a judge that is reliably wrong is turned round. `dawid_skene` guesses reliabilities from
disagreement alone.
"""

from .fit import fit_jury
from .members import combine
from .weights import Combine, Juror, JuryConfig, Weights

__all__ = ["Combine", "Juror", "JuryConfig", "Weights", "combine", "fit_jury"]
