"""How far three estimates of log p(x) are off, against their seconds per point, on trained runs, as a table and a figure.

`python -m benchmarks.errors RUN ... --output NAME` takes folders of runs, whose data sets are prepared, and writes NAME.csv and
NAME.png. The truth is taken from annealing over many more temperatures.
"""

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch

from benchmarks.clock import once, quiet
from mixvae import cli
from mixvae.data import prepared
from mixvae.data.view import to_measure_on
from mixvae.files import read_json
from mixvae.fitting.runs import load_run
from mixvae.measuring import adaptive
from mixvae.measuring.bracket import Bracket, Points
from mixvae.measuring.chunks import Arrays, Unfinished
from mixvae.measuring.evaluation import evaluate
from mixvae.models import Model
from mixvae.study import Run, parse_run
from mixvae.study.parts import Annealing
from mixvae.summary.figures.style import save

SAMPLES = (50, 200, 1000, 5000, 20_000)
"""Plain importance samples per component."""
TEMPERATURES, MANY = (5, 10, 20, 50, 100, 200), 1000
FRESH = (100, 300, 1000, 3000)
"""Samples of a proposal after it was adapted, with 0.4 times as many for each round of its adaptation."""
DEFAULTS = {"plain": 5000, "annealed": 50, "adapted": 1000}
COLOURS = {"plain": "tab:grey", "annealed": "tab:blue", "adapted": "tab:orange"}
LINEAR = 0.02
"""Up to how many nats the figure's axis is linear, so that errors of either sign show."""


def estimates(model: Model, x: torch.Tensor) -> Iterator[tuple[str, int, float, Arrays]]:
    """Yield the estimator, its budget, seconds per point and the estimates of points (N, D), the truth first."""
    n = len(x)
    points, device = Points(x, x, torch.arange(n)), torch.device("cpu")

    def timed(name: str, budget: int, seed: int = 0) -> tuple[str, int, float, Arrays]:
        found: dict[str, Arrays] = {}

        def measure() -> None:
            with quiet(), tempfile.TemporaryDirectory() as folder, torch.no_grad():
                of = Bracket(model, Annealing(), seed, Unfinished(Path(folder), "bench"))
                if name == "plain":
                    found["it"] = evaluate(model, x, budget, seed)
                elif name == "annealed":
                    found["it"] = of.annealed("annealing", points, budget)
                else:
                    adaptive.FRESH, adaptive.PER_ROUND = budget, max(40, int(0.4 * budget))
                    found["it"] = of.adapted(points)

        return name, budget, once(measure, device) / n, found["it"]

    timed("plain", 2)  # nothing is clocked while torch is still cold
    yield timed("annealed", MANY, seed=1)
    yield from (timed("plain", samples) for samples in SAMPLES)
    yield from (timed("annealed", number) for number in TEMPERATURES)
    if model.noise_size <= adaptive.MOST_DIMENSIONS:
        yield from (timed("adapted", number) for number in FRESH)


def measure(folder: Path, number: int) -> pd.DataFrame:
    """Return a row per estimator and budget: seconds per point, and the mean over points of how far it is off, with its error."""
    spec: Run = parse_run(read_json(folder / "spec.json"))
    data = prepared.load(folder.parent.parent / "datasets" / spec.dataset)
    model, x = load_run(folder, spec, data).eval(), to_measure_on(data, spec, "test").x[:number]
    rows, truth = [], None
    for name, budget, seconds, found in estimates(model, x):
        truth = found["nll"] if truth is None else truth
        off = found["nll"] - truth
        row = {
            "run": spec.id,
            "estimator": name,
            "budget": budget,
            "points": len(x),
            "seconds": seconds,
            "nll": found["nll"].mean(),
        }
        rows.append(row | {"off": off.mean(), "stderr": off.std(ddof=1) / math.sqrt(len(x))})
        print(
            f"{spec.id}: {name} {budget}: {seconds:.3g} s per point, off by {off.mean():+.3f} ± {rows[-1]['stderr']:.3f} nats"
        )
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame, path: Path) -> None:
    """Draw how far each estimator is off against its seconds per point, a panel per run."""
    runs = table.run.unique()
    figure, axes = plt.subplots(
        1, len(runs), squeeze=False, sharey=True, layout="constrained", figsize=(1 + 2.6 * len(runs), 3.2)
    )
    for run, ax in zip(runs, axes[0], strict=True):
        for name, rows in table[(table.run == run) & (table.index > 0)].groupby("estimator", sort=False):
            ax.errorbar(
                rows.seconds, rows.off, rows.stderr, fmt="o-", color=COLOURS[name], label=name, ms=4, lw=1.2, elinewidth=0.8
            )
            default = rows.budget == DEFAULTS[name]
            ax.plot(rows.seconds[default], rows.off[default], "o", ms=9, mfc="none", color=COLOURS[name])
        ax.set(xscale="log", xlabel="seconds per point")
        ax.set_yscale("symlog", linthresh=LINEAR)
        ax.axhline(0, color="black", linewidth=0.8)
        ax.set_title("\n".join(run.rsplit("-", 1)[0].split("-", 2)[::2]), fontsize=8)
    axes[0, 0].set_ylabel("nats above the truth")
    axes[0, -1].legend(fontsize=8)
    save(figure, path)


def main(parser: cli.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", type=Path, help="folders of trained runs")
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--output", type=Path, default=Path("results/errors"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = pd.concat([measure(folder, arguments.points) for folder in arguments.runs])
    table.to_csv(arguments.output.with_suffix(".csv"), index=False, float_format="%.4g")
    draw(table, arguments.output)


if __name__ == "__main__":
    cli.run(main)
