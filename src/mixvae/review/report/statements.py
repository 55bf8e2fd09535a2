"""Writes sentences about what a study has found: each tells numbers of a table with their intervals, and claims no more."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mixvae.review.audit.reading import Unreadable
from mixvae.review.audit.subject import Subject
from mixvae.review.report.grids import frame_of
from mixvae.study import outputs
from mixvae.study.metrics import better_end
from mixvae.summary.groups import groups_of, pairs
from mixvae.summary.rendering import marks
from mixvae.summary.results import controls_of
from mixvae.summary.statistics import paired
from mixvae.summary.tables.comparisons import SIGNIFICANCE, probability, verdict
from mixvae.summary.tables.published import COMPARED

BOUND = "-elbo"
ESTIMATES = ("nll_ais", "nll_matched")
"""The estimates of the likelihood by which K is compared, best first; the second spends the same samples on every K."""
BEST = {"density": "kl", "latent": "cluster_accuracy", "reconstruction": "mse"}
"""By kind of table without ranks, the metric of which the best cell is named."""
FEW = 6
"""At most this many differences or published values are told one by one; of more, only the extremes are told."""
CLAIM = "The claim that the bound and the likelihood never get worse as K grows (Kviman et al., 2023)"


class Statement(NamedTuple):
    """A sentence, the table that it is from, and whether it comes before all others."""

    text: str
    table: str
    lead: bool


def statements(subject: Subject) -> dict[str, list[Statement]]:
    """Return the statements by data set."""
    found: dict[str, list[Statement]] = {}
    for table in outputs.tables(subject.study.runs.values(), subject.study.datasets):
        kind, _, dataset = table.partition("_")
        if kind not in SENTENCES:
            continue
        try:
            texts = SENTENCES[kind](subject, dataset, frame_of(subject, table))
        except Unreadable as reason:
            texts = [f"Nothing can be told of {table}: it cannot be read, {reason}."]
        except Exception as error:  # strangers may have put anything there
            texts = [f"Nothing can be told of {table}: it is not as tabulate writes it, {type(error).__name__}: {error}."]
        found.setdefault(dataset, []).extend(Statement(text, table, text.startswith(CLAIM)) for text in texts)
    return found


def comparisons(subject: Subject, dataset: str, frame: pd.DataFrame) -> list[str]:
    """Return sentences about the claim, about the differences that contradict it, and about the largest K of every column."""
    frame = headline(frame, ["K", "against", "group"])
    if frame.empty:
        return []
    groups, metrics = groups_of(subject.study, dataset), [BOUND, *(name for name in ESTIMATES if name in set(frame.metric))]
    frame = frame.assign(verdict=frame.apply(verdict, axis=1))
    # the claim is of mixtures: the K categories of a clustering model are no components of a posterior
    mixtures = {group.key for group in groups.values() if not group.spec.categorises}
    rows = frame[frame.group.isin(mixtures)]
    texts, told = [], rows[:0]
    if len(rows):
        planned = 2 * sum(key in mixtures for _, _, key in pairs(groups))
        texts = [claim(rows, planned - len(rows))]
        texts += [text for metric in metrics for text in counts(metric, rows[rows.metric == metric])]
        if len(metrics) > 2:
            texts.append(
                f"Where not both sides have {ESTIMATES[0]}, they are compared by {ESTIMATES[1]}: never one with the other."
            )
        worse = rows[rows.verdict == "worse"].sort_values("delta", ascending=False, kind="stable")
        told = worse if len(worse) <= FEW else worse[:1]
        head = f"The largest of {len(worse)} rises: " if len(worse) > FEW else ""
        texts += [head + difference(row) for row in told.to_dict("records")]
    return texts + _largest(frame[frame.metric != BOUND], set(told.index))


def headline(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return the rows of the bound, and for each value of `keys` those of the best estimate of the likelihood that is there."""
    place = frame.metric.map({name: number for number, name in enumerate(ESTIMATES)})
    return frame[
        (frame.metric == BOUND) | (place == place.groupby([frame[key] for key in keys], dropna=False).transform("min"))
    ]


def _largest(rows: pd.DataFrame, told: set[int]) -> list[str]:
    """Return how each column's largest K differs from K = 1 or the next smaller, unless `told`; of many, the best and worst."""
    rows = rows.sort_values(["K", "against"], ascending=[False, True], kind="stable").groupby("group", sort=False).head(1)
    rows = rows.sort_values("delta", kind="stable")
    heads = [""] * len(rows)
    if (columns := len(rows)) > FEW:
        rows, heads = rows.iloc[[0, -1]], [f"The {end} of {columns} columns: " for end in ("best", "worst")]
    found = zip(rows.index, heads, rows.to_dict("records"), strict=True)
    return [head + difference(row) for index, head, row in found if index not in told]


def ways(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows of both ways to compare K, by name; a way is left out if it has no rows, or the same as the other way."""
    steps, to_one = rows[rows.step], rows[rows.against == 1]
    found = {} if steps.equals(to_one) else {"steps from one K to the next": steps}
    return {name: there for name, there in (found | {"comparisons with K = 1": to_one}).items() if len(there)}


def claim(rows: pd.DataFrame, lost: int) -> str:
    """Return a sentence that says whether the comparisons support the claim; `lost` comparisons could not be made."""
    found, shown = set(rows.verdict), "better"
    if "worse" in found:
        said, shown = "is contradicted", "worse"
    elif "better" not in found:
        said = "is neither borne out nor contradicted"
    else:
        said = "is borne out in part, and nowhere contradicted," if "open" in found or lost else "is borne out"
    shares = " and in ".join(f"{_share(there, shown)} {name}" for name, there in ways(rows).items())
    missing = f" Of {len(rows) + lost} comparisons {lost} could not be made, and of these nothing is known." if lost else ""
    return f"{CLAIM} {said} for the models trained here: {shown} in {shares}.{missing}"


def counts(metric: str, rows: pd.DataFrame) -> Iterator[str]:
    """Yield sentences that count in how many steps between K, and comparisons with K = 1, a likelihood is better or worse."""
    for name, there in ways(rows).items():
        worse, unclear = (int((there.verdict == which).sum()) for which in ("worse", "open"))
        text = (
            f"{metric}: better in {_share(there, 'better')} {name}, worse in {worse or 'none'}; differences"
            f" {there.delta.min():+.3f} to {there.delta.max():+.3f} nats, Holm-adjusted p below {SIGNIFICANCE} where better or worse."
        )
        yield text + (f" In {unclear} no difference is shown, which does not mean that there is none." if unclear else "")


def _share(rows: pd.DataFrame, which: str) -> str:
    return f"{int((rows.verdict == which).sum()) or 'none'} of {len(rows)}"


def difference(row: Mapping[str, Any]) -> str:
    """Return one paired difference as a sentence."""
    which = verdict(row)
    # a fall is told as a positive number
    sign, shown = (-1, ".3f") if which == "better" else (1, ".3f" if which == "worse" else "+.3f")
    between = f"from K = {row['against']} to K = {row['K']}{marks(row)}"
    said = {
        "better": f"{row['metric']} falls by {-row['delta']:.3f} nats {between}",
        "worse": f"{row['metric']} rises by {row['delta']:.3f} nats {between}",
        "open": f"no difference of {row['metric']} is shown {between}: {row['delta']:+.3f} nats",
    }[which]
    facts = []
    if not pd.isna(row["low"]):
        facts.append(f"95 % interval over {row['points']} test points {_range(row['low'], row['high'], shown, sign)}")
    if not pd.isna(row["p_adjusted"]):
        facts.append(f"Holm-adjusted {probability(row['p_adjusted'])}")
    over = "seed by seed" if row["seed_kind"] == "min-max" else row["seed_kind"]
    facts.append(_over_seeds(over, row, "seed_low", "seed_high", shown, sign))
    return f"{row['column']}: {said} ({'; '.join(facts)})."


def _range(low: float, high: float, shown: str, sign: int = 1) -> str:
    low, high = sorted((sign * low, sign * high))
    return f"{low:{shown}} to {high:{shown}}"


def _over_seeds(what: str, row: Mapping[str, Any], low: str, high: str, shown: str, sign: int = 1) -> str:
    return "one seed" if pd.isna(row[low]) else f"{what} {_range(row[low], row[high], shown, sign)}, {row['seeds']} seeds"


def ranking(subject: Subject, dataset: str, frame: pd.DataFrame) -> list[str]:
    """Return sentences about the best cell, how sure its rank is, its gain over the control, and the marks in the table."""
    texts = []
    frame = headline(frame, ["measure"])
    # likelihoods of different things do not compare, and have ranks of their own
    for (metric, _), group in frame.groupby(["metric", "measure"], sort=False):
        if len(group) > 1:
            texts.append(best_ranked(metric, group))
        if metric != BOUND:
            texts += control(subject, group.iloc[0].to_dict())
    rows = frame[frame.metric != BOUND].to_dict("records")
    unreliable, stopped = (sum(row[mark] is True for row in rows) for mark in ("unreliable", "stopped_by_budget"))
    if unreliable:
        texts.append(f"The likelihood is doubtful (†, see the note of the table) in {unreliable} of {len(rows)} cells.")
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
        ranks = _range(row["rank_low"], row["rank_high"], ".0f")
        facts += [
            f"95 % interval of its rank over {row['points']} test points {ranks}",
            f"P(best) {row['probability_best']:.2f}",
        ]
    facts.append(_over_seeds("rank seed by seed", row, "seed_rank_low", "seed_rank_high", ".0f"))
    where = f"{row['column']} with K = {row['K']} ranks first of {len(group)}"
    tie = f", in a tie with {ties - 1} more" if ties > 1 else ""
    value = f"{row['mean']:.3f} nats{marks(row)}"
    return f"By {metric}, {where}{tie}: {value} ({'; '.join(facts)})."


def control(subject: Subject, row: Mapping[str, Any]) -> list[str]:
    """Return a sentence about how much better the best cell is than the constant predictor on the same points, if known."""
    runs, annealed = row["runs"].split(), row["made_from"] == ESTIMATES[0]
    constant = controls_of(subject.study).get(runs[0])
    try:
        theirs = subject.pointwise(str(constant))["nll"]
        file = "bracket.npz" if annealed else "pointwise.npz"
        arrays = [subject.pointwise(run, file) for run in runs if run in subject.present]
        if annealed:
            theirs = theirs[arrays[0]["positions"]]
        ours = np.stack([found[row["made_from"]] for found in arrays])
        gain = paired(np.broadcast_to(theirs, ours.shape), ours)
    except (Unreadable, KeyError, ValueError, IndexError):
        return []
    cell = f"that best cell{marks(row)}"
    return [
        f"A constant predictor ({subject.study.runs[constant].likelihood.name}) is at {theirs.mean():.3f} nats: {cell} is better by"
        f" {gain.mean:.3f} nats (95 % interval over {len(theirs)} test points {gain.low:.3f} to {gain.high:.3f})."
    ]


def gaps(subject: Subject, dataset: str, frame: pd.DataFrame) -> list[str]:
    """Return a sentence per column that says which part of the gap between bound and likelihood gets smaller with K."""
    texts = []
    parts = {"approximation_gap": "approximation", "amortisation_gap": "amortisation"}
    for _, rows in frame[frame.metric.isin(parts) & frame["mean"].notna()].groupby("group", sort=False):
        values = rows.pivot(index="K", columns="metric", values="mean")
        if len(values) < 2 or not set(parts) <= set(values.columns):
            continue
        first, last = values.index[0], values.index[-1]
        changes = {name: values.loc[last, metric] - values.loc[first, metric] for metric, name in parts.items()}
        said = [
            f"the {name} gap {'falls' if change < 0 else 'rises'} by {abs(change):.3f} nats to {values.loc[last, metric]:.3f}"
            for (metric, name), change in zip(parts.items(), changes.values(), strict=True)
        ]
        whole = "smaller" if sum(changes.values()) < 0 else "larger"
        texts.append(
            f"{rows.column.iloc[0]}: from K = {first:.0f} to K = {last:.0f} {' and '.join(said)} (means over seeds), so the distance"
            f" from the bound to the likelihood gets {whole}; decoders differ between K."
        )
    return texts


def published(subject: Subject, dataset: str, frame: pd.DataFrame) -> list[str]:
    """Return sentences that compare ours with published values; components, which have no order, are left to the table."""
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
    spread = _spread(row) if row["seeds"] > 1 else "one seed, so no interval"
    return (
        f"{row['system']}: {row['metric']} published {row['published']}, ours ({row['column']} with K = {row['K']:.0f})"
        f" {row['ours']:.3f} ({spread}), {row['difference']:+.3f}, trained with {row['budget']}."
    )


def _spread(row: Mapping[str, Any]) -> str:
    return f"{_range(row['low'], row['high'], '.3f')} over {row['seeds']:.0f} seeds"


def best(subject: Subject, dataset: str, frame: pd.DataFrame, metric: str) -> list[str]:
    """Return a sentence about the best cell of a table, with its interval over seeds."""
    rows = frame[(frame.metric == metric) & frame["mean"].notna()]
    if len(rows) < 2:
        return []
    highest = better_end(metric) == "max"
    row = rows.loc[rows["mean"].idxmax() if highest else rows["mean"].idxmin()]
    end = "highest" if highest else "lowest"
    if row.seeds < 2:
        return [f"{metric}: the {end} cell has one seed, so no interval; see the table."]
    return [f"{metric} is {end} for {row.column} with K = {row.K:.0f}: {row['mean']:.3f} ({_spread(row)})."]


SENTENCES = {
    "comparisons": comparisons,
    "ranking": ranking,
    "published": published,
    "gaps": gaps,
    **{kind: partial(best, metric=metric) for kind, metric in BEST.items()},
}
"""By kind of table, the function that writes sentences about it."""
