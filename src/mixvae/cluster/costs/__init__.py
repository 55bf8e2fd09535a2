"""What runs cost: their work counted, the seconds of finished runs measured, and the one carried over to the other.

The work of a run is counted exactly, on tensors without data: the floating point operations of its training steps and of its
importance samples. Finished runs tell how many seconds such work took, seconds = start-up + a units + b work, a unit being a
training step or an importance sample, and a new run is estimated from the finished runs that are most like it.
"""

from mixvae.cluster.costs.estimates import Estimate, Model, fit
from mixvae.cluster.costs.jobs import STAGES, Counter, Kind, Work, kind
from mixvae.cluster.costs.measurements import REFERENCE, Measurement, measure, read_table, write_table
from mixvae.cluster.costs.operations import Counts, count

__all__ = [
    "REFERENCE",
    "STAGES",
    "Counter",
    "Counts",
    "Estimate",
    "Kind",
    "Measurement",
    "Model",
    "Work",
    "count",
    "fit",
    "kind",
    "measure",
    "read_table",
    "write_table",
]
