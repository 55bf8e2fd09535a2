"""Tables as people read them: Markdown, LaTeX, and the headline on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from mixvae.tables import UNRELIABLE_SHARE

HOLE = "missing"

LIKELIHOOD_NOTE = """\
Nats per test point, lower is better; mean over seeds [{spread} over seeds]. Δ is the paired difference to K = 1 of the same
column, on the same seeds, with its 95 % interval over test points. Bold: best of its column. "control" is a constant predictor.
{marks}

- `-elbo`: the MISELBO bound, one sample per component at a time.
- `nll_miselbo`: -1/K Σ_k log 1/L Σ_l w, the form published for mixture VAEs; for K > 1 it stays above -log p(x).
- `nll`: -log 1/(KL) Σ w with L samples from each component: K times as many for K components, so not for comparing K.
- `nll_matched`: the same estimator with L samples in all whatever K: the one to compare different K by.
- "{hole}": runs that failed, see failures.csv; "(1 of 2)": how many seeds are there.
"""
LATENT_NOTE = """\
Mean over seeds [{spread} over seeds], of test points; probes and K-means are fitted on training points. Bold: best of its column.
asw_true is the silhouette of the labels, asw_pred that of the K-means clusters; jsd in nats; active_units counts units.
"{hole}": runs that failed, see failures.csv.
"""


def text(frame: pd.DataFrame, bold: str) -> pd.DataFrame:
    """Return the cells as text: rows (metric, K), one column per prior+flow.

    Arguments:
        bold: How bold is written, with {} for the text.
    """
    shown = frame.assign(text=[_cell(row, bold) for row in frame.to_dict("records")])
    table = shown.pivot(index=["metric", "K"], columns="column", values="text").reindex(columns=frame.column.unique())
    table = table.reindex(frame[["metric", "K"]].drop_duplicates().itertuples(index=False, name=None)).fillna("")
    table = table.rename_axis(["metric", "K"]).reset_index()
    control = frame.attrs.get("control")
    if control is not None:
        row = {"metric": "control", "K": "", **dict.fromkeys(frame.column.unique(), f"{control:.3f}")}
        table = pd.concat([table, pd.DataFrame([row])], ignore_index=True)
    return table


def _cell(row: Mapping[str, Any], bold: str) -> str:
    if not row["seeds"]:
        return f"{HOLE} (0 of {row['expected']})"
    mean = f"{row['mean']:.3f}"
    parts = [bold.format(mean) if row["best"] else mean]
    parts[0] += marks(row.get("unreliable"), row.get("stopped_by_budget"))
    if row["seeds"] > 1:
        parts.append(f"[{row['low']:.3f}, {row['high']:.3f}]")
    if row["seeds"] < row["expected"]:
        parts.append(f"({row['seeds']} of {row['expected']})")
    if not pd.isna(row.get("delta")):
        parts.append(f"Δ {row['delta']:+.3f} [{row['delta_low']:+.3f}, {row['delta_high']:+.3f}]")
    return " ".join(parts)


def marks(unreliable: Any, stopped_by_budget: Any) -> str:
    """Return the signs that warn of a likelihood."""
    return ("†" if unreliable is True else "") + ("‡" if stopped_by_budget is True else "")


MARKS_NOTE = f"""\
†: Pareto k above 0.7 for {UNRELIABLE_SHARE:.0%} of the test points or more, so the estimate is unreliable.
‡: training ended with its epochs, before it stopped improving."""


def note(frame: pd.DataFrame, template: str) -> str:
    """Return the explanation that stands below a table."""
    kinds = frame["kind"].dropna().unique()
    return template.format(spread=" or ".join(kinds) or "min-max", marks=MARKS_NOTE, hole=HOLE)


def headline(table: pd.DataFrame) -> str:
    """Return the two estimates to look at first as plain text: mean and, in brackets, the difference to K = 1.

    Arguments:
        table: A likelihood table as written to CSV, see `wide`.
    """
    columns = [name for name in table.columns if f"{name} seeds" in table.columns]
    rows = table[table.metric.isin(["-elbo", "nll_matched"])].to_dict("records")
    shown = [{"metric": row["metric"], "K": row["K"], **{name: _brief(row, name) for name in columns}} for row in rows]
    return pd.DataFrame(shown).to_string(index=False)


def _brief(row: Mapping[str, Any], name: str) -> str:
    if pd.isna(row[name]):
        return "" if pd.isna(row[f"{name} seeds"]) else HOLE
    delta = row.get(f"{name} delta")
    signs = marks(row.get(f"{name} unreliable"), row.get(f"{name} stopped_by_budget"))
    return f"{row[name]:.3f}{signs}" + ("" if pd.isna(delta) else f" ({delta:+.3f})")


def latex(frame: pd.DataFrame, caption: str) -> str:
    """Return the table as a LaTeX table environment (booktabs)."""
    table = text(frame, r"\textbf{{{}}}").rename(columns=_latex)
    for column in table.columns:
        table[column] = [_latex(cell) for cell in table[column]]
    return table.to_latex(index=False, escape=False, caption=_latex(caption), column_format="l" * len(table.columns))


def _latex(value: Any) -> str:
    replaced = str(value)
    for symbol, command in {
        "_": r"\_",
        "%": r"\%",
        "&": r"\&",
        "#": r"\#",
        "Δ": r"$\Delta$",
        "†": r"\textsuperscript{\textdagger}",
        "‡": r"\textsuperscript{\textdaggerdbl}",
    }.items():
        replaced = replaced.replace(symbol, command)
    return replaced
