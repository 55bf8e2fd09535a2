"""This file gives the command line of every job from the study alone, so that nobody has to trust the one in a record."""

from mixvae.files import canonical_json
from mixvae.study.catalogue import DatasetInfo
from mixvae.study.jobs import Job
from mixvae.study.own_data import without_source
from mixvae.study.place import RESULTS
from mixvae.study.run import Run


def command(job: Job, spec: Run | None, info: DatasetInfo | None, gpu: bool, holes: bool) -> list[str]:
    """Return the command that repeats a job from the repository's root; [] for rule study, which Snakemake runs itself.

    A job of a run needs the run's spec, a job of a data set its entry; `holes` says that some of the study's runs are missing.
    """
    dataset = ["--dataset", job.name, "--folder", f"{RESULTS}/datasets/{job.name}"]
    study = ["--study", f"{RESULTS}/{job.name}/study.json"]
    if spec:
        run, data = f"{RESULTS}/runs/{job.name}", f"{RESULTS}/datasets/{spec.dataset}"
    device = ["--gpu", str(int(gpu))]
    match job.rule:
        case "download":
            own = without_source(info) if info.reader and len(info.files) == 1 else ""
            options = [*dataset, f"--info={own}"]
        case "prepare":
            options = dataset
        case "train":
            parts = ["--parts", run] if spec.own_files else []
            options = ["--spec", spec.canonical(), "--data", data, "--run", run, *parts, *device]
        case "evaluate" | "bracket" | "latents":
            settings = canonical_json(spec.measuring(job.rule))
            options = ["--run", run, "--data", data, "--settings", settings, *([] if job.rule == "latents" else device)]
        case "tabulate":
            options = [*study, "--runs", f"{RESULTS}/runs", *(["--allow-missing"] if holes else [])]
        case "figures":
            options = [*study, "--results", str(RESULTS)]
        case _:
            return []
    return ["python", f"scripts/{job.rule}.py", *options]
