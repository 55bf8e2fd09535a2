"""Takes over runs of version 0.1, whose ids and folders also depended on how a run is measured, without training them again."""

import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from mixvae.errors import UserError
from mixvae.files import read_json, sha256, write_json
from mixvae.progress import say
from mixvae.provenance import seal, verify_outputs
from mixvae.study import Run, parse_run_json
from mixvae.study.jobs import MADE_BY, RUN_FILES, folder_of, record_of, rules_of, run_file


def take_over(runs: Path, wanted: Collection[str]) -> int:
    """Give the `wanted` runs that lie in `runs` as version 0.1 left them the places that they have now; return their number.

    The old files stay. The new ones are links to them, but for the specs and records: a record has the new paths and, as
    `taken_over`, the old folder. It keeps the digest of the code that made it, so that the audit says that this was other code.
    A job whose files are not as its record says is left out with a warning, to be done again.
    """
    taken = set()
    for old, spec in _of_version_0_1(runs):
        for rule in rules_of(spec) if spec.id in wanted else ():
            record = old / f"provenance/{rule}.json"
            if record_of(rule, spec, runs / spec.id).is_file() or not record.is_file():
                continue
            try:
                verify_outputs(record)
            except UserError as error:
                say(f"warning: not taken over: {error}")
                if rule == "train":
                    break
                continue
            _take_over(rule, spec, old, runs / spec.id)
            taken.add(spec.id)
    return len(taken)


def _of_version_0_1(runs: Path) -> Iterator[tuple[Path, Run]]:
    """Yield the folders that version 0.1 wrote, with the specs in them; a control's folder has kept its name."""
    for path in sorted(runs.glob("*/spec.json")):
        text = path.read_text(errors="replace")
        if '"evaluation"' in text or (path.parent / "provenance/evaluate.json").is_file():
            try:
                yield path.parent, parse_run_json(text)
            except ValueError:
                continue  # of a still earlier version


def _take_over(rule: str, spec: Run, old: Path, run: Path) -> None:
    """Link the files of a job of the folder `old` to where they lie now, and write the job's record, last."""
    folder = folder_of(rule, spec, run)
    (folder / "provenance").mkdir(parents=True, exist_ok=True)
    for name in RUN_FILES[rule]:
        if name == "spec.json":
            write_json(run / name, spec.training_spec())
            shutil.copystat(old / name, run / name)  # or Snakemake takes what was made from it for old
        elif old != folder:
            _link(old / name, folder / name)
    for path in (*old.glob(f"logs/{rule}.*"), *old.glob(f"benchmarks/{rule}.*")):
        if old != folder and path.is_file():
            target = folder / path.relative_to(old)
            target.parent.mkdir(exist_ok=True)
            shutil.copy2(path, target)
    facts = read_json(old / f"provenance/{rule}.json")
    for part in ("inputs", "outputs"):
        facts[part] = dict(_now(name, digest, spec, old, run) for name, digest in facts[part].items())
    facts |= {"spec": spec.training_spec(), "taken_over": str(old)}
    if rule != "train":
        facts["settings"] = spec.measuring(rule)
    write_json(record_of(rule, spec, run), facts | {"seal": seal(facts)})


def _now(name: str, digest: str, spec: Run, old: Path, run: Path) -> tuple[str, str]:
    """Return the path and digest that a file has now which a record of the folder `old` names."""
    path = Path(name)
    if path.parent.name != old.name or path.name not in MADE_BY:
        return name, digest
    new = run_file(path.name, spec, run)
    return str(new), sha256(new) if path.name == "spec.json" else digest


def _link(old: Path, new: Path) -> None:
    new.unlink(missing_ok=True)  # left by a take-over that was cut off
    try:
        os.link(old, new)
    except OSError:  # a file system without hard links
        shutil.copy2(old, new)
