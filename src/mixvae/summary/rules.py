"""Rules tabulate and figures make the tables and figures of a study from the results of its runs."""

import itertools
import sys
from pathlib import Path

import pandas as pd

from mixvae.errors import UserError
from mixvae.files import atomic, keep_only
from mixvae.provenance import record
from mixvae.study import outputs
from mixvae.study.jobs import all_jobs
from mixvae.summary import holes, manifest, results, tabulation
from mixvae.summary.published import PATH, read


def tabulate_study(listed: Path, runs: Path, allow_missing: bool) -> None:
    """Write the metrics, tables, failures and manifest of the study in `listed`, results/<study>/study.json.

    Raises UserError for a run that is missing or changed, unless that is allowed; the tables then have holes.
    """
    folder, study, published = listed.parent, results.read_study(listed), read(PATH)
    failed = holes.failures(study, runs)
    if len(failed) and not allow_missing:
        raise UserError(
            f"{len(failed)} of {len(study.runs)} runs are not complete, the first is {failed.run[0]}; see its logs/"
        )
    changed = holes.changed(study, runs, set(failed.run))
    if len(changed) and not allow_missing:
        raise UserError(changed.log[0])
    failed = pd.concat([failed, changed], ignore_index=True)
    missing, jobs = set(failed.run), list(all_jobs(study.name, study.runs, study.datasets, runs.parent))
    complete = study.runs.keys() - missing
    files = [file for job in jobs if job.name in complete for file in job.files]
    # tables need no codes, and the id of a run tells which files of its user's own it has
    inputs = [listed, PATH, *(file for file in files if file.suffix not in (".h5ad", ".py"))]
    made = next(job.files[:-1] for job in jobs if job.rule == "tabulate")
    with record("tabulate", folder / "provenance/tabulate.json", inputs=inputs, outputs=made):
        keep_only(folder / "tables", outputs.tables(study.runs.values(), study.datasets))
        for name, what in (tabulation.content(study, runs, missing, published) | {"failures.csv": failed}).items():
            _write(what, folder / name)
        manifest.write(folder / manifest.NAME, jobs, runs.parent)
    if missing:
        print(f"{len(missing)} of {len(study.runs)} runs are missing, listed in {folder / 'failures.csv'}", file=sys.stderr)


def _write(what: pd.DataFrame | str, path: Path) -> None:
    """Write a frame or a text in the format that the file's suffix says."""
    with atomic(path) as temporary:
        if isinstance(what, str):
            temporary.write_text(what, encoding="utf-8")
        elif path.suffix == ".parquet":
            what.to_parquet(temporary, index=False)
        else:
            what.to_csv(temporary, index=False)


def draw_study(listed: Path, root: Path) -> None:
    """Write the figures of the study in `listed` from the metrics and tables beside it, and from the runs and data in `root`."""
    # late, since tables need neither torch nor matplotlib
    from mixvae.fitting.devices import torch_device
    from mixvae.summary import figures

    torch_device(0, threads=1)
    folder, study = listed.parent, results.read_study(listed)
    missing = set(pd.read_csv(folder / "failures.csv").run)
    metrics = pd.read_parquet(folder / "metrics.parquet")
    made: list[Path] = []
    names = outputs.figures(study.runs.values(), study.datasets)
    jobs = all_jobs(study.name, study.runs, study.datasets, root)
    read_by_job = next(job.inputs for job in jobs if job.rule == "figures")
    inputs = [folder / "failures.csv", *(file for file in read_by_job if missing.isdisjoint(file.parts))]
    with record("figures", folder / "provenance/figures.json", inputs=inputs, outputs=made) as facts:
        facts["runs"] = sorted(set(study.runs) - missing)
        keep_only(folder / "figures", names)
        # one data set at a time: a view keeps its data and models
        for dataset, members in itertools.groupby(names, key=lambda name: name.split("_", 1)[1]):
            view = figures.View(study, dataset, metrics, missing, root)
            for name in members:
                figure = figures.draw(name.split("_", 1)[0], view)
                files = [folder / "figures" / f"{name}{suffix}" for suffix in (".png", ".pdf")]
                if figure is None:
                    print(f"{name}: none of the runs it shows succeeded, so it was not drawn")
                    for file in files:  # a figure of earlier results must not pass for one of these
                        file.unlink(missing_ok=True)
                else:
                    figures.save(figure, folder / "figures" / name)
                    made.extend(files)
