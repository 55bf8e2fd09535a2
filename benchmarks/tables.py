"""What was measured, as tables for a terminal and for Markdown."""

from collections.abc import Sequence
from typing import Any


def print_tables(result: dict[str, Any]) -> None:
    """Print everything that a run of the benchmarks has measured."""
    about = result["machine"]
    shared = ", MPS" if about["mps"] else ""
    print(f"{about['device']}{shared}, {about['threads']} threads, torch {about['torch']}, {about['date']}")
    rates = about["operations_per_second"]
    print("GFLOP/s: " + ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in rates.items()))
    for title, prefix, header, row in (
        ("Training, ms per step", "training/", TRAINING, training_row),
        ("Evaluation, samples per second", "evaluation/", EVALUATION, evaluation_row),
        ("Annealing, seconds per point", "annealing/", ANNEALING, annealing_row),
        ("Evaluation, peak memory in MiB", "memory/", MEMORY, memory_row),
        ("Growth, ms", "growth/", GROWTH, growth_row),
    ):
        rows = [row(entry) for name, entry in result.items() if name.startswith(prefix)]
        if rows:
            print(f"\n{title}")
            print_table(header, rows)
    for name, entry in result.items():
        if name.startswith("sharing/"):
            print(
                f"\nMNIST ablation, {entry['runs_at_a_time']} runs at a time: {entry['hours']:.2f} h, {entry['hours_to_the_last']:.2f} to the last's end"
            )
            rows = [(cell, f"{of['step_ms']:.1f}", f"{of['epoch_s']:.1f}") for cell, of in entry["cells"].items()]
            print_table(("model", "ms per step", "s per epoch"), rows)
        if name.startswith("overhead/"):
            print(f"\nSeconds: {name.removeprefix('overhead/').replace('_', '-')}")
            rows = {**entry, **entry.get("rules", {})}
            print_table(("what", "s"), [(key, f"{value:.2f}") for key, value in rows.items() if isinstance(value, float)])


TRAINING = ("case", "library", "naive", "naive/library", "repeated/library", "floor", "library/floor", "share of peak")
EVALUATION = ("case", "L", "library", "naive", "library/naive")
ANNEALING = ("case", "annealed", "plain, L = 5000", "annealed/plain")
MEMORY = ("case", "L", "before", "peak")
GROWTH = ("case", "grows", "once", "twice", "twice/once")


def training_row(entry: dict[str, Any]) -> Sequence[str]:
    return (
        entry["case"], number(entry["library_ms"]), number(entry.get("naive_ms")), times(entry.get("naive_over_library")),
        times(entry.get("repeated_over_library")), number(entry["floor_ms"]), times(entry["library_over_floor"]), f"{100 * entry['share_of_peak'][0]:.0f}%",
    )  # fmt: skip


def evaluation_row(entry: dict[str, Any]) -> Sequence[str]:
    given = (entry.get(f"{side}_samples_per_second") for side in ("library", "naive"))
    rates = ("" if rate is None else f"{rate[0]:,.0f}" for rate in given)
    return entry["case"], str(entry["samples"]), *rates, times(entry.get("naive_over_library"))


def annealing_row(entry: dict[str, Any]) -> Sequence[str]:
    seconds = (f"{entry[name][0]:.3f}" for name in ("annealed_s", "plain_s"))
    return entry["case"], *seconds, times(entry["annealed_over_plain"])


def memory_row(entry: dict[str, Any]) -> Sequence[str]:
    return entry["case"], str(entry["samples"]), f"{entry['before_mb']:.0f}", f"{entry['peak_mb']:.0f}"


def growth_row(entry: dict[str, Any]) -> Sequence[str]:
    return (
        entry["case"], entry["grows"], number(entry["once_ms"]), number(entry["twice_ms"]), times(entry["twice_over_once"])
    )  # fmt: skip


def number(values: Sequence[float] | None) -> str:
    """Return the median."""
    return "" if values is None else f"{values[0]:.1f}" if values[0] < 100 else f"{values[0]:.0f}"


def times(values: Sequence[float] | None) -> str:
    """Return a ratio's median and, in brackets, its quartiles."""
    return "" if values is None else f"{values[0]:.2f} ({values[1]:.2f}-{values[2]:.2f})"


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table whose columns line up."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = ["-" * width for width in widths]
    for line in (header, rule, *rows):
        cells = (
            cell.ljust(width) if not number else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        print(f"| {' | '.join(cells)} |")
