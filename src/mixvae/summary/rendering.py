"""Tables as people read them: Markdown, LaTeX, and the headlines on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from mixvae.summary.tables import BITS, NOT_MEASURED, UNDEFINED, UNRELIABLE_SHARE, column_order, digits, row_keys, spread

HOLE = "missing"
MARKDOWN_BOLD, LATEX_BOLD = "**{}**", r"\textbf{{{}}}"

TITLES = {
    "ablation": "likelihoods",
    "latent": "latent space",
    "reconstruction": "reconstructions",
    "components": "classifiers on the codes of each component",
    "density": "fit to the density",
    "published": "published and ours",
    "comparisons": "differences between K",
    "ranking": "all K and columns ranked",
}
COLUMNS_NOTE = """\
A column is prior+flow, after the model where there are several; mog(10) is a prior of 10 components; in brackets stands what
else tells columns apart: encoder/decoder, widths as layers x units, "IWAE L=2" for training on the bound of 2 samples."""
MARKS_NOTE = f"""\
†: Pareto k above 0.7 for {UNRELIABLE_SHARE:.0%} of the test points or more, so the estimate is unreliable.
‡: training ended with its epochs, before it stopped improving."""
NOTES = {
    "ablation": """\
Nats per test point, lower is better; mean over seeds [{spread} over seeds]. Δ is the paired difference to K = 1 of the same
column, on the same seeds, with its 95 % interval over test points. Bold: best of its column. "control" is a constant predictor
with the column's likelihood (nb for zinb), fitted on all training points. Where columns name their likelihoods, only those of
the same one compare.
{columns}
{marks}

- `-elbo`: the MISELBO bound, one sample per component at a time.
- `nll_miselbo`: -1/K Σ_k log 1/L Σ_l w, the form published for mixture VAEs; for K > 1 it stays above -log p(x).
- `nll`: -log 1/(KL) Σ w with L samples from each component: K times as many for K components, so not for comparing K.
- `nll_matched`: the same estimator with L samples in all whatever K: the one to compare different K by.
{bits}- "{hole}": runs that failed, see failures.csv; "(1 of 2)": how many seeds are there.
""",
    "latent": """\
Mean over seeds [{spread} over seeds], of test points; probes and K-means are fitted on training points. Bold: best of its column.
{columns}
accuracy_svm, _knn and _mlp are those of classifiers on the codes. cluster_accuracy matches the model's own categories to the
labels one to one, cluster_purity gives each category its commonest label, which more categories inflate. ari and nmi compare
K-means clusters of the codes with the labels; asw_true is the silhouette of the labels, asw_pred that of the clusters. jsd, in
nats, is how far a mixture's components are apart; active_units counts units. What needs labels is left out where there are none.
"{hole}": runs that failed, see failures.csv; "{undefined}": the metric has no value for these codes.
""",
    "reconstruction": """\
Mean over seeds [{spread} over seeds], of test points under a Gaussian likelihood. Bold: best of its column. K = 1 is the single VAE.
{columns}
‡: training ended with its epochs, before it stopped improving.

- `mse`: squared error summed over the numbers of a point, which lie in [0, 1]; `rmse`: the root of its mean.
- `inception_score`: of images made from the prior, higher is better.
- `dhsic`: dependence of the components' codes; `_null_median` and `_null_95` are what permuted, hence independent codes give, and
  only a value above them shows dependence. `hsic_pairs` is the sum over all pairs of components, beside its own null.
- "{hole}": runs that failed, see failures.csv.{reasons}
""",
    "components": """\
Accuracy on test points of classifiers fitted on the codes of training points; mean over seeds [{spread} over seeds]. Bold: best of
its row. "mixture" is fitted on the codes of all components together, "C1" on those of component 1 alone, "single VAE" on those of
the run with K = 1 and the same settings. The components of different runs have no common order.
"{hole}": runs that failed, see failures.csv.
""",
    "density": """\
Nats; mean over seeds [{spread} over seeds]. Bold: best of its column. A column is the flow behind the K Gaussians.
‡: training ended with its epochs, before it stopped improving.

- `kl`: KL(q || p) to the true density, summed over a grid; 0 is a perfect fit.
- `-elbo`: the same KL as estimated from samples of q, since the bound of a normalised density is -KL.
- `mass`: of q on the grid; `kl` is right where it is 1.
- "{hole}": runs that failed, see failures.csv.
""",
}
BITS_NOTE = """\
- `bpd` behind a name: the same in bits per dimension, nats / (D log 2), for likelihoods of discrete levels only. Published values
  compare with `nll_miselbo bpd`; the metric `bpd` in metrics.csv is made from `nll`.
"""
HEADLINES = {
    "ablation": (
        ("-elbo", "nll_matched", f"nll_miselbo{BITS}"),
        "nats per test point, lower is better; mean over seeds (difference to K = 1)",
    ),
    "reconstruction": (("mse",), "squared error, lower is better; mean over seeds"),
    "latent": (("cluster_accuracy", "cluster_purity"), "share of test points, higher is better; mean over seeds"),
    "density": (("kl",), "KL to the truth in nats, lower is better; mean over seeds"),
}
"""By kind of table, the blocks that the terminal shows, and what they are."""


def text(frame: pd.DataFrame, bold: str) -> pd.DataFrame:
    """Return the cells as text: rows (metric, K), or (settings, metric, K) where there are several, one column per `column`.

    Arguments:
        bold: How bold is written, with {} for the text.
    """
    keys, columns = row_keys(frame), column_order(frame)
    table = spread(frame.assign(text=[_cell(row, bold) for row in frame.to_dict("records")]), "text")
    table = table.reindex(columns=columns).fillna("").rename_axis(keys).reset_index().rename_axis(columns=None)
    if "settings" in keys and frame.settings.nunique() == 1:
        table = table.drop(columns="settings")
    lines = [
        {"metric": name, "K": "", **{column: _control(values, column) for column in columns}}
        for name, values in frame.attrs.get("control", {}).items()
        if values
    ]
    return pd.concat([table, pd.DataFrame(lines)], ignore_index=True) if lines else table


def _control(values: Mapping[str, float], column: str) -> str:
    if column not in values:
        return ""
    return HOLE if pd.isna(values[column]) else f"{values[column]:.3f}"


def _cell(row: Mapping[str, Any], bold: str) -> str:
    if not row["seeds"]:
        return _absent(row["unmeasured"]) or f"{HOLE} (0 of {row['expected']})"
    shown = f"{{:.{digits(row['metric'])}f}}"
    mean = shown.format(row["mean"])
    parts = [bold.format(mean) if row["best"] else mean]
    parts[0] += marks(row.get("unreliable"), row.get("stopped_by_budget"))
    if row["seeds"] > 1:
        parts.append(f"[{shown.format(row['low'])}, {shown.format(row['high'])}]")
    if row["seeds"] < row["expected"]:
        parts.append(f"({row['seeds']} of {row['expected']})")
    if not pd.isna(row.get("delta")):
        parts.append(f"Δ {row['delta']:+.3f}")
        if not pd.isna(row["delta_low"]):
            parts.append(f"[{row['delta_low']:+.3f}, {row['delta_high']:+.3f}]")
    return " ".join(parts)


def _absent(unmeasured: Any) -> str:
    """Return what a cell says whose runs are there without a value, "" where they are not."""
    if not isinstance(unmeasured, str):
        return ""
    return UNDEFINED if unmeasured == UNDEFINED else NOT_MEASURED


def marks(unreliable: Any, stopped_by_budget: Any) -> str:
    """Return the signs that warn of a likelihood."""
    return ("†" if unreliable is True else "") + ("‡" if stopped_by_budget is True else "")


def note(frame: pd.DataFrame, kind: str) -> str:
    """Return the explanation that stands below a table."""
    found = [reason for reason in frame["unmeasured"].dropna().unique() if reason != UNDEFINED]
    return NOTES[kind].format(
        spread=" or ".join(frame["kind"].dropna().unique()) or "min-max",
        columns=COLUMNS_NOTE,
        marks=MARKS_NOTE,
        bits=BITS_NOTE if frame.metric.str.endswith(BITS).any() else "",
        hole=HOLE,
        undefined=UNDEFINED,
        reasons="".join(f'\n- "{NOT_MEASURED}": {reason.removeprefix(f"{NOT_MEASURED}: ")}.' for reason in found),
    )


def headline(table: pd.DataFrame, kind: str = "ablation") -> str:
    """Return the blocks to look at first as plain text, mean and, in brackets, the difference to K = 1; "" where there are none.

    Arguments:
        table: A table as written to CSV, see `wide`.
    """
    columns = [name for name in table.columns if f"{name} seeds" in table.columns]
    rows = table[table.metric.isin(HEADLINES[kind][0])].to_dict("records")
    shown = [{"metric": row["metric"], "K": row["K"], **{name: _brief(row, name) for name in columns}} for row in rows]
    frame = pd.DataFrame(shown, columns=["metric", "K", *columns])
    # columns that these blocks say nothing of
    return frame.loc[:, (frame != "").any()].to_string(index=False) if shown else ""


def _brief(row: Mapping[str, Any], name: str) -> str:
    if pd.isna(row[name]):
        return "" if pd.isna(row[f"{name} seeds"]) else _absent(row.get(f"{name} unmeasured")) or HOLE
    delta = row.get(f"{name} delta")
    signs = marks(row.get(f"{name} unreliable"), row.get(f"{name} stopped_by_budget"))
    return f"{row[name]:.3f}{signs}" + ("" if pd.isna(delta) else f" ({delta:+.3f})")


def markdown_table(table: pd.DataFrame) -> str:
    """Return a table of text as a Markdown table."""
    escaped = table.map(lambda cell: str(cell).replace("|", r"\|"))
    return escaped.to_markdown(index=False, disable_numparse=True)


def latex_table(table: pd.DataFrame, caption: str) -> str:
    """Return a table of text as a LaTeX table environment (booktabs)."""
    bare = table.rename(columns=_latex).map(_latex)
    return bare.to_latex(index=False, escape=False, caption=_latex(caption), column_format="l" * len(table.columns))


def markdown(frame: pd.DataFrame, kind: str, dataset: str) -> str:
    """Return a page with the table and its note."""
    body = markdown_table(text(frame, MARKDOWN_BOLD))
    return f"# {dataset}: {TITLES[kind]}\n\n{body}\n\n{note(frame, kind)}"


def latex(frame: pd.DataFrame, kind: str, dataset: str) -> str:
    """Return the table as LaTeX, its note above it as a comment."""
    return commented(note(frame, kind)) + latex_table(text(frame, LATEX_BOLD), f"{dataset}: {TITLES[kind]}")


def commented(note: str) -> str:
    """Return text as a LaTeX comment."""
    return "".join(f"% {line}".rstrip() + "\n" for line in note.splitlines())


def _latex(value: Any) -> str:
    replaced = str(value)
    for symbol, command in {
        "_": r"\_",
        "%": r"\%",
        "&": r"\&",
        "#": r"\#",
        "<": "$<$",
        "Δ": r"$\Delta$",
        "†": r"\textsuperscript{\textdagger}",
        "‡": r"\textsuperscript{\textdaggerdbl}",
    }.items():
        replaced = replaced.replace(symbol, command)
    return replaced
