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
from mixvae.report.grids import frame_of
from mixvae.spec import outputs
from mixvae.statistics import paired
from mixvae.tables import LIKELIHOODS, UNRELIABLE_SHARE, control_runs, grouped

HEADLINE = ("-elbo", "nll_matched")
"""What K is compared by: the bound, and the estimate of the likelihood that spends the same on every K."""
BEST = {"density": {"kl": "min"}, "latent": {"cluster_accuracy": "max"}, "reconstruction": {"mse": "min"}}
"""By kind of table without ranks, metrics of which the best cell is named, and which end of the scale is best."""
FEW = 6
"""Differences and published values that are told one by one; of more, the extremes."""
CLAIM = "that the bound and the likelihood never get worse as K grows (Kviman et al., 2023)"


class Finding(NamedTuple):
    """A sentence, and the table that it is from."""

    text: str
    table: str


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
                texts = [f"Nothing can be said: the table cannot be read, {reason}."]
            except Exception as error:  # strangers may have put anything there
                texts = [f"Nothing can be said: the table is not as tabulate writes it, {type(error).__name__}: {error}."]
        found.setdefault(dataset, []).extend(Finding(text, table) for text in texts)
    return found


def comparisons(subject: Subject, dataset: str, frame: pd.DataFrame) -> list[str]:
    """Return what became of the claim, and the differences between K = 1 and the largest K."""
    frame = frame[frame.metric.isin(HEADLINE)]
    if frame.empty:
        return []
    verdicts = frame.apply(verdict, axis=1)
    texts = [claim(frame, verdicts)] if len(frame) > len(HEADLINE) else []
    rows = frame[frame.metric == HEADLINE[-1]]
    rows = rows.loc[rows.groupby("column", sort=False)["K"].idxmax()].sort_values("delta", kind="stable")
    if len(rows) <= FEW:
        return texts + [difference(row) for row in rows.to_dict("records")]
    first, last = rows.iloc[0].to_dict(), rows.iloc[-1].to_dict()
    head = f"Of the {len(rows)} columns, each at its largest K,"
    return [
        *texts,
        f"{head} the change most for the better: {difference(first)}",
        f"{head} the one least so: {difference(last)}",
    ]


def verdict(row: Mapping[str, Any]) -> str:
    """Return whether more components are shown to be "better" or "worse" than one, or "open"."""
    if pd.isna(row["p_adjusted"]) or row["p_adjusted"] >= SIGNIFICANCE:
        return "open"
    return "better" if row["delta"] < 0 else "worse"


def claim(frame: pd.DataFrame, verdicts: pd.Series) -> str:
    """Return what the comparisons with K = 1 say of the claim that is to be reproduced."""
    parts = []
    for metric in HEADLINE:
        here = verdicts[frame.metric == metric]
        counts = {name: int((here == name).sum()) for name in ("better", "worse", "open")}
        deltas = frame.delta[frame.metric == metric]
        parts.append(
            f"{metric} is better in {counts['better']} of {len(here)} comparisons with K = 1, worse in {counts['worse']}, and in"
            f" {counts['open']} no difference is shown (differences {deltas.min():+.3f} to {deltas.max():+.3f} nats)"
        )
    worse, unclear = bool((verdicts == "worse").any()), bool((verdicts == "open").any())
    said = f"The claim {CLAIM} is contradicted here" if worse else f"The claim {CLAIM} is not contradicted here"
    if not worse and not unclear:
        said = f"The claim {CLAIM} is borne out by every comparison with K = 1 here"
    end = " No difference shown does not mean equal." if unclear else ""
    return f"{said}: {'; '.join(parts)}. Better and worse are where the Holm-adjusted p is below {SIGNIFICANCE}.{end}"


def difference(row: Mapping[str, Any]) -> str:
    """Return one paired difference as a sentence."""
    which = verdict(row)
    flip = which == "better"
    low, high = (-row["high"], -row["low"]) if flip else (row["low"], row["high"])
    sign = "" if which != "open" else "+"
    between = f"from K = {row['against']} to K = {row['K']}"
    if which == "open":
        said = f"no difference is shown {between}; {row['metric']} changes by {row['delta']:+.3f} nats"
    else:
        said = f"{row['metric']} {'falls' if flip else 'rises'} by {abs(row['delta']):.3f} nats {between}"
    facts = [f"95 % interval over {row['points']} test points {low:{sign}.3f} to {high:{sign}.3f}"] if not pd.isna(low) else []
    facts += [f"Holm-adjusted {probability(row['p_adjusted'])}"] if not pd.isna(row["p_adjusted"]) else []
    if pd.isna(row["seed_low"]):
        facts.append("one seed")
    else:
        low, high = (-row["seed_high"], -row["seed_low"]) if flip else (row["seed_low"], row["seed_high"])
        over = "single seeds" if row["seed_kind"] == "min-max" else "95 % interval over seeds"
        facts.append(f"{over} {low:{sign}.3f} to {high:{sign}.3f}, {row['seeds']} of them")
    warnings = warning(row)
    return f"{row['column']}: {said} ({'; '.join(facts)}){warnings}."


def warning(row: Mapping[str, Any]) -> str:
    """Return the marks of a row in words."""
    marks = ["unreliable †"] * (row["unreliable"] is True) + ["training not at its end ‡"] * (row["stopped_by_budget"] is True)
    return f" [{', '.join(marks)}]" if marks else ""


def ranking(subject: Subject, dataset: str, frame: pd.DataFrame) -> list[str]:
    """Return which cell is best, how sure that is, what it is worth against the control, and which marks warn of the rest."""
    texts = []
    for metric in HEADLINE:
        rows = frame[frame.metric == metric]
        # likelihoods that do not compare have ranks of their own, one group behind the other
        for _, group in rows.groupby((rows["rank"].diff() < 0).cumsum()):
            if len(group) > 1:
                texts.append(best_ranked(metric, group))
            if metric == HEADLINE[-1]:
                texts += control(subject, dataset, group.iloc[0].to_dict())
    rows = frame[frame.metric == HEADLINE[-1]]
    for mark, what in (
        (
            "unreliable",
            f"rest on heavy-tailed importance weights at {UNRELIABLE_SHARE:.0%} of the test points or more (†): unreliable",
        ),
        (
            "stopped_by_budget",
            "have runs whose training ended with its epochs and still improved (‡): compared at equal epochs, not at convergence",
        ),
    ):
        if marked := int((rows[mark] == True).sum()):  # noqa: E712
            texts.append(f"{marked} of {len(rows)} cells of {HEADLINE[-1]} {what}.")
    return texts


def best_ranked(metric: str, group: pd.DataFrame) -> str:
    """Return the first of a group of ranked cells as a sentence."""
    row = group.iloc[0].to_dict()
    ties = int((group["rank"] == 1).sum())
    facts = []
    if not pd.isna(row["rank_low"]):
        facts.append(
            f"95 % interval of its rank over {row['points']} test points {row['rank_low']:.0f} to {row['rank_high']:.0f}"
        )
        facts.append(f"best in {row['probability_best']:.0%} of the resamples")
    seeds = "one seed"
    if not pd.isna(row["seed_rank_low"]):
        seeds = f"rank {row['seed_rank_low']:.0f} to {row['seed_rank_high']:.0f} in single seeds, {row['seeds']} of them"
    tie = f", with {ties - 1} others in a tie" if ties > 1 else ""
    where = f"{row['column']} with K = {row['K']}"
    return f"By {metric}, {where} ranks first of {len(group)}{tie}, at {row['mean']:.3f} nats ({'; '.join([*facts, seeds])}){warning(row)}."


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
    return [
        f"A constant predictor ({study.runs[constant].likelihood.name}) is at {theirs.mean():.3f} nats: that best cell is better by"
        f" {gain.mean:.3f} nats (95 % interval over {len(theirs)} test points {gain.low:.3f} to {gain.high:.3f})."
    ]


def published(subject: Subject, dataset: str, frame: pd.DataFrame) -> list[str]:
    """Return ours beside what was published."""
    rows = frame[(frame.status == COMPARED) & frame.ours.notna()]
    if len(rows) > FEW:
        seeds = f"{rows.seeds.min():.0f} to {rows.seeds.max():.0f} seeds each"
        span = f"{rows.difference.min():+.3f} to {rows.difference.max():+.3f}"
        return [
            f"{len(rows)} published values have a counterpart here ({seeds}): ours less published is {span}, in the units of each."
        ]
    return [_beside(row) for row in rows.to_dict("records")]


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
