"""The statistics everything else leans on: intervals, agreement, strengths from wins, calibration.

Plain Python where a loop over the data is cheap; numpy is loaded only inside the functions that fit
something, so importing this costs nothing. No data gives `nan` (or the whole interval), never zero.
"""

from .agreement import agreement, cohen_kappa, correlation, effective_jurors
from .clusters import NOTHING, Estimate, clustered_mean, clustered_share, correlation_through_zero
from .differences import benjamini_yekutieli, mcnemar, sign_test, student_test
from .intervals import bootstrap, clopper_pearson, wilson, z_of
from .odds import ece, log_loss, logit, mean, sigmoid
from .strengths import bradley_terry, elo

__all__ = [
    "NOTHING",
    "Estimate",
    "agreement",
    "benjamini_yekutieli",
    "bootstrap",
    "bradley_terry",
    "clopper_pearson",
    "clustered_mean",
    "clustered_share",
    "cohen_kappa",
    "correlation",
    "correlation_through_zero",
    "ece",
    "effective_jurors",
    "elo",
    "log_loss",
    "logit",
    "mcnemar",
    "mean",
    "sigmoid",
    "sign_test",
    "student_test",
    "wilson",
    "z_of",
]
