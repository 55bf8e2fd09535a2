"""Measure what the library costs, print tables and write them as JSON: what `make bench` calls.

Names of measurements start with training/, evaluation/, annealing/, memory/, growth/, sharing/ or overhead/; --only takes parts of them.
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import annealings, evaluations, growth, machine, overhead, sharing, steps
from benchmarks.cases import CASES
from benchmarks.tables import print_tables
from mixvae import cli
from mixvae.errors import UserError
from mixvae.files import write_json
from mixvae.fitting import devices

EVALUATED = (
    "mlp-K1", "mlp-K4", "mlp-vamp-K4", "mlp-vamp-iaf-K4", "mlp-coupling-K4", "conv-K4", "pixelcnn-K4", "hvae-K4",
    "composite-K4", "cells-K4", "cifar10-K3", "mvae-K4", "cpvae-K10", "gmvae-K10", "gmvae_shu-K10",
)  # fmt: skip
ANNEALED = ("mlp-K1", "mlp-K4", "mlp-vamp-K4", "cells-K1", "cells-K4", "pixelcnn-K4")
HELD = (("mlp-K4", 2500), ("mlp-K4", 5000), ("mlp-vamp-K4", 5000))
SHARING = {"cpu": (1, 2), "cuda": (1, 8, 16, 24)}
"""Runs at a time."""
GROWING = ("mlp-K4", "mlp-vamp-K4", "conv-K4", "hvae-K4")


def measurements(device: torch.device, seconds: float, peak: machine.Product) -> dict[str, Callable[[], Any]]:
    """Return every measurement by its name."""
    found: dict[str, Callable[[], Any]] = {}
    for name, case in CASES.items():
        found[f"training/{name}"] = partial(steps.measure, case, device, seconds, peak)
    for name in EVALUATED:
        found[f"evaluation/{name}"] = partial(evaluations.measure, CASES[name], device, seconds)
    for name in ANNEALED:
        found[f"annealing/{name}"] = partial(annealings.measure, CASES[name], device, seconds)
    for name, samples in HELD:
        found[f"memory/{name}-L{samples}"] = partial(evaluations.memory, name, samples, device.type)
    for name in GROWING:
        found[f"growth/{name}-components"] = partial(growth.in_components, CASES[name], device, seconds)
    found["growth/mlp-K4-samples"] = partial(growth.in_samples, CASES["mlp-K4"], device, seconds)
    for runs in SHARING[device.type]:
        found[f"sharing/mnist-{runs}-at-a-time"] = partial(sharing.measure, sharing.cells(), runs, device, seconds)
    for function in (overhead.imports, overhead.start_ups, overhead.workflow, overhead.jobs):
        found[f"overhead/{function.__name__}"] = function
    return found


def main(parser: cli.ArgumentParser) -> None:
    parser.prog = "make bench"
    parser.add_argument("--only", nargs="+", default=[""], metavar="PART", help="measure what has one of these in its name")
    parser.add_argument("--list", action="store_true", help="print the names and measure nothing")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the processor")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each measurement, which takes three rounds at least")
    parser.add_argument("--output", type=Path, default=Path("results/bench.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    devices.set_numerics()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--device cuda: torch {torch.__version__} sees no GPU here; leave it out")
    best, rates = machine.peak(device)
    every = measurements(device, arguments.seconds, machine.products(device)[best])
    chosen = {name: measure for name, measure in every.items() if any(part in name for part in arguments.only)}
    if not chosen:
        raise UserError(f"--only {' '.join(arguments.only)}: no measurement has that in its name; --list prints them")
    if arguments.list:
        print("\n".join(chosen))
        return
    result: dict[str, Any] = {"machine": machine.describe(device) | {"peak": best, "operations_per_second": rates}}
    for number, (name, measure) in enumerate(chosen.items(), start=1):
        print(f"{number}/{len(chosen)} {name}", file=sys.stderr, flush=True)
        result[name] = measure()
        # what is there survives an interruption
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        write_json(arguments.output, result)
    print_tables(result)
    print(f"\nwritten: {arguments.output}")


if __name__ == "__main__":
    cli.run(main)
