"""The headline findings as sentences: each from the numbers of a table, with its interval, and no further than these go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mixvae.audit.reading import Unreadable, read_arrays
from mixvae.audit.subject import Subject
from mixvae.columns import column_names
from mixvae.comparisons import SIGNIFICANCE, probability
from mixvae.published import COMPARED
from mixvae.rendering import marks
from mixvae.report.grids import frame_of
from mixvae.spec import outputs
from mixvae.statistics import paired
from mixvae.tables import LIKELIHOODS, MEASURES, UNRELIABLE_SHARE, control_runs, grouped

HEADLINE = ("-elbo", "nll_matched")
"""What K is compared by: the bound, and the estimate of the likelihood that spends the same on every K."""
BEST = {"density": {"kl": "min"}, "latent": {"cluster_accuracy": "max"}, "reconstruction": {"mse": "min"}}
"""By kind of table without ranks, metrics of which the best cell is named, and which end of the scale is best."""
FEW = 6
"""Differences and published values that are told one by one; of more, the extremes."""
CLAIM = "The claim that the bound and the likelihood never get worse as K grows (Kviman et al., 2023)"


class Finding(NamedTuple):
    """A sentence, the table that it is from, and whether it comes before all others."""

    text: str
    table: str
    lead: bool


def findings(subject: Subject) -> dict[str, list[Finding]]:
    """Return the findings by data set."""
    found: dict[str, list[Finding]] = {}
    for table in outputs.tables(subject.study.runs.values(), subject.study.datasets):
        kind, _, dataset = table.partition("_")
        sentences: Callable[[Subject, str, pd.DataFrame], list[str]] | None = SENTENCES.get(kind)
        texts = []
        if sentences:
            try:
                texts = sentences(subject, dataset, frame_of(subject, table))
            except Unreadable as reason:
                texts = [f"Nothing can be told of {table}: it cannot be read, {reason}."]
            except Exception as error:  # strangers may have put anything there
                texts = [f"Nothing can be told of {table}: it is not as tabulate writes it, {type(error).__name__}: {error}."]
        found.setdefault(dataset, []).extend(Finding(text, table, text.startswith(CLAIM)) for text in texts)
    return found


def comparisons(subject: Subject, dataset: str, frame: pd.DataFrame) -> list[str]:
    """Return what became of the claim, and the differences between K = 1 and the largest K."""
    frame = frame[frame.metric.isin(HEADLINE)]
    if frame.empty:
        return []
    verdicts = frame.apply(verdict, axis=1)
    texts = [claim(verdicts)] + [counts(metric, frame, verdicts) for metric in HEADLINE]
    rows = frame[frame.metric == HEADLINE[-1]]
    rows = rows.loc[rows.groupby("column", sort=False)["K"].idxmax()].sort_values("delta", kind="stable")
    told = rows if len(rows) <= FEW else rows.iloc[[0, -1]]
    heads = [""] * len(told) if len(rows) <= FEW else [f"The {end} of {len(rows)} columns: " for end in ("best", "worst")]
    return texts + [head + difference(row) for head, row in zip(heads, told.to_dict("records"), strict=True)]


def verdict(row: Mapping[str, Any]) -> str:
    """Return whether more components are shown to be "better" or "worse" than one, or "open"."""
    if pd.isna(row["p_adjusted"]) or row["p_adjusted"] >= SIGNIFICANCE:
        return "open"
    return "better" if row["delta"] < 0 else "worse"


def claim(verdicts: pd.Series) -> str:
    """Return what the comparisons with K = 1 say of the claim that is to be reproduced."""
    found = set(verdicts)
    if "worse" in found:
        said = "is contradicted"
    elif "better" not in found:
        said = "is neither borne out nor contradicted"
    else:
        said = (
            "is borne out in part, and nowhere contradicted"
            if "open" in found
            else "is borne out by every comparison with K = 1"
        )
    return f"{CLAIM} {said} for the models trained here."


def counts(metric: str, frame: pd.DataFrame, verdicts: pd.Series) -> str:
    """Return in how many comparisons with K = 1 more components are better or worse."""
    here, deltas = verdicts[frame.metric == metric], frame.delta[frame.metric == metric]
    better, worse, unclear = (int((here == name).sum()) for name in ("better", "worse", "open"))
    text = (
        f"{metric}: better than at K = 1 in {better or 'none'} of {len(here)} comparisons, worse in {worse or 'none'}; differences"
        f" {deltas.min():+.3f} to {deltas.max():+.3f} nats, Holm-adjusted p below {SIGNIFICANCE} where better or worse."
    )
    return text + (f" In {unclear} no difference is shown, which does not mean that there is none." if unclear else "")


def difference(row: Mapping[str, Any]) -> str:
    """Return one paired difference as a sentence."""
    which = verdict(row)
    # a fall is told as a positive number
    sign, shown = (-1, ".3f") if which == "better" else (1, ".3f" if which == "worse" else "+.3f")
    between = f"from K = {row['against']} to K = {row['K']}{marks(row['unreliable'], row['stopped_by_budget'])}"
    said = {
        "better": f"{row['metric']} falls by {-row['delta']:.3f} nats {between}",
        "worse": f"{row['metric']} rises by {row['delta']:.3f} nats {between}",
        "open": f"no difference of {row['metric']} is shown {between}: {row['delta']:+.3f} nats",
    }[which]
    facts = []
    if not pd.isna(row["low"]):
        low, high = sorted((sign * row["low"], sign * row["high"]))
        facts.append(f"95 % interval over {row['points']} test points {low:{shown}} to {high:{shown}}")
    if not pd.isna(row["p_adjusted"]):
        facts.append(f"Holm-adjusted {probability(row['p_adjusted'])}")
    if pd.isna(row["seed_low"]):
        facts.append("one seed")
    else:
        low, high = sorted((sign * row["seed_low"], sign * row["seed_high"]))
        over = "seed by seed" if row["seed_kind"] == "min-max" else row["seed_kind"]
        facts.append(f"{over} {low:{shown}} to {high:{shown}}, {row['seeds']} seeds")
    return f"{row['column']}: {said} ({'; '.join(facts)})."


def ranking(subject: Subject, dataset: str, frame: pd.DataFrame) -> list[str]:
    """Return which cell is best, how sure that is, what it is worth against the control, and which marks warn of the rest."""
    # likelihoods of different things do not compare, and have ranks of their own
    names = column_names(subject.study, dataset)
    measure = frame.column.map({name: MEASURES[subject.study.runs[run].likelihood.name] for run, name in names.items()})
    texts = []
    for metric in HEADLINE:
        rows = frame[frame.metric == metric]
        for _, group in rows.groupby(measure[rows.index], sort=False):
            if len(group) > 1:
                texts.append(best_ranked(metric, group))
            if metric == HEADLINE[-1]:
                texts += control(subject, dataset, group.iloc[0].to_dict())
    rows = frame[frame.metric == HEADLINE[-1]].to_dict("records")
    unreliable, stopped = (sum(row[mark] is True for row in rows) for mark in ("unreliable", "stopped_by_budget"))
    if unreliable:
        share = f"heavy-tailed importance weights at {100 * UNRELIABLE_SHARE:.0f} % of the test points or more"
        texts.append(f"{HEADLINE[-1]} is unreliable (†) in {unreliable} of {len(rows)} cells: {share}.")
    if stopped:
        texts.append(
            f"Training ended with its epochs, before it stopped improving (‡), in {stopped} of {len(rows)} cells: these compare at"
            " equal epochs, not at convergence."
        )
    return texts


def best_ranked(metric: str, group: pd.DataFrame) -> str:
    """Return the first of a group of ranked cells as a sentence."""
    row = group.iloc[0].to_dict()
    ties = int((group["rank"] == 1).sum())
    facts = []
    if not pd.isna(row["rank_low"]):
        low, high = row["rank_low"], row["rank_high"]
        facts += [f"95 % interval of its rank over {row['points']} test points {low:.0f} to {high:.0f}"]
        facts += [f"P(best) {row['probability_best']:.2f}"]
    if pd.isna(row["seed_rank_low"]):
        facts.append("one seed")
    else:
        low, high = row["seed_rank_low"], row["seed_rank_high"]
        facts.append(f"rank seed by seed {low:.0f} to {high:.0f}, {row['seeds']} seeds")
    where = f"{row['column']} with K = {row['K']} ranks first of {len(group)}"
    tie = f", in a tie with {ties - 1} more" if ties > 1 else ""
    value = f"{row['mean']:.3f} nats{marks(row['unreliable'], row['stopped_by_budget'])}"
    return f"By {metric}, {where}{tie}: {value} ({'; '.join(facts)})."


def control(subject: Subject, dataset: str, row: Mapping[str, Any]) -> list[str]:
    """Return what the best cell is worth against the constant predictor, on the same test points."""
    study = subject.study
    constant = control_runs(study, dataset).get(row["column"])
    runs = grouped(study, column_names(study, dataset))[row["K"], row["column"]]
    folder = subject.results / "runs"
    try:
        theirs = read_arrays(folder / str(constant) / "pointwise.npz", subject.results)["nll"]
        metric = LIKELIHOODS[HEADLINE[-1]]
        there = [run for run in runs if run in subject.present]
        ours = np.stack([read_arrays(folder / run / "pointwise.npz", subject.results)[metric] for run in there])
        gain = paired(np.broadcast_to(theirs, ours.shape), ours)
    except (Unreadable, KeyError, ValueError):
        return []
    cell = f"that best cell{marks(row['unreliable'], row['stopped_by_budget'])}"
    return [
        f"A constant predictor ({study.runs[constant].likelihood.name}) is at {theirs.mean():.3f} nats: {cell} is better by"
        f" {gain.mean:.3f} nats (95 % interval over {len(theirs)} test points {gain.low:.3f} to {gain.high:.3f})."
    ]


def published(subject: Subject, dataset: str, frame: pd.DataFrame) -> list[str]:
    """Return ours beside what was published; single components, which have no order, are left to the table."""
    rows = frame[(frame.status == COMPARED) & frame.ours.notna() & ~frame.metric.str.contains("_component_")]
    if len(rows) <= FEW:
        return [_beside(row) for row in rows.to_dict("records")]
    return [
        f"{metric}: {len(group)} published values have a counterpart here; ours less published is {group.difference.min():+.3f} to"
        f" {group.difference.max():+.3f}, each with its interval over seeds and its budget in the table."
        if len(group) > 1
        else _beside(group.iloc[0].to_dict())
        for metric, group in rows.groupby("metric", sort=False)
    ]


def _beside(row: Mapping[str, Any]) -> str:
    spread = (
        f"{row['low']:.3f} to {row['high']:.3f} over {row['seeds']:.0f} seeds"
        if row["seeds"] > 1
        else "one seed, so no interval"
    )
    where = f"{row['column']} with K = {row['K']:.0f}"
    return (
        f"{row['system']}: {row['metric']} published {row['published']}, ours ({where}) {row['ours']:.3f} ({spread}),"
        f" {row['difference']:+.3f}, trained with {row['budget']}."
    )


def best(kind: str) -> Callable[[Subject, str, pd.DataFrame], list[str]]:
    """Return a function that names the best cell of a table with its interval over seeds."""

    def sentences(subject: Subject, dataset: str, frame: pd.DataFrame) -> list[str]:
        columns = [name for name in frame.columns if f"{name} seeds" in frame.columns]
        texts = []
        for metric, end in BEST[kind].items():
            lines = frame[frame.metric == metric].to_dict("records")
            found = [(line[name], line, name) for line in lines for name in columns if not pd.isna(line[name])]
            if len(found) < 2:
                continue
            mean, line, name = (min if end == "min" else max)(found, key=lambda cell: cell[0])
            end = "lowest" if end == "min" else "highest"
            seeds = int(line[f"{name} seeds"])
            spread = f"{line[f'{name} low']:.3f} to {line[f'{name} high']:.3f} over {seeds} seeds"
            said = f"{metric} is {end} for {name} with K = {line['K']}: {mean:.3f} ({spread})."
            texts.append(said if seeds > 1 else f"{metric}: the {end} cell has one seed, so no interval; see the table.")
        return texts

    return sentences


SENTENCES = {"comparisons": comparisons, "ranking": ranking, "published": published, **{kind: best(kind) for kind in BEST}}
"""By kind of table, what is told of it."""
