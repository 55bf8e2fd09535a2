"""What runs cost: their work counted, the seconds of finished runs measured, and the one carried over to the other.

The amounts are those of `mixvae.study.resources`. The work of a run is counted exactly, on tensors without data: the floating point operations of its training steps and of its
importance samples. Finished runs tell how many seconds such work took, seconds = start-up + a units + b work, a unit being a
training step or an importance sample, and a new run is estimated from the finished runs that are most like it.
"""

from mixvae.cluster.costs.estimates import Estimate, Estimator, fit
from mixvae.cluster.costs.measurements import REFERENCE, Measurement, measure, read_table, write_table
from mixvae.cluster.costs.operations import Counts, count
from mixvae.cluster.costs.work import Counter, Kind, Work, kind

__all__ = [
    "REFERENCE",
    "Counter",
    "Counts",
    "Estimate",
    "Estimator",
    "Kind",
    "Measurement",
    "Work",
    "count",
    "fit",
    "kind",
    "measure",
    "read_table",
    "write_table",
]
