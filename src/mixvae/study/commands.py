"""This file gives the command line of every job from the study alone, so that nobody has to trust the one in a record."""

from mixvae.files import canonical_json
from mixvae.study.catalogue import DatasetInfo
from mixvae.study.jobs import Job
from mixvae.study.own_data import without_source
from mixvae.study.place import RESULTS
from mixvae.study.run import Run


def command(job: Job, spec: Run | None, info: DatasetInfo | None, gpu: bool, holes: bool) -> list[str]:
    """Return the command that repeats a job from the repository's root; [] for rule study, which Snakemake runs itself.

    Arguments:
        spec: The run's spec, for a job of one run.
        info: The data set's entry, for a job of one data set.
        gpu: Whether to compute on a GPU.
        holes: Whether some of the study's runs are missing.
    """
    match job.rule:
        case "download":
            own = without_source(info) if info.reader and len(info.files) == 1 else ""
            options = ["--dataset", job.name, "--folder", f"{RESULTS}/datasets/{job.name}", f"--info={own}"]
        case "prepare":
            options = ["--dataset", job.name, "--folder", f"{RESULTS}/datasets/{job.name}"]
        case "train" | "evaluate" | "bracket" | "latents":
            run, data = ["--run", f"{RESULTS}/runs/{job.name}"], ["--data", f"{RESULTS}/datasets/{spec.dataset}"]
            settings = ["--settings", canonical_json(spec.measuring(job.rule))] if job.rule != "train" else []
            options = ["--spec", spec.canonical(), *data, *run] if job.rule == "train" else [*run, *data, *settings]
            if job.rule == "train" and spec.own_files:
                options += ["--parts", run[1]]
            options += ["--gpu", str(int(gpu))] if job.rule != "latents" else []
        case "tabulate":
            options = ["--study", f"{RESULTS}/{job.name}/study.json", "--runs", f"{RESULTS}/runs"]
            options += ["--allow-missing"] if holes else []
        case "figures":
            options = ["--study", f"{RESULTS}/{job.name}/study.json", "--results", str(RESULTS)]
        case _:
            return []
    return ["python", f"scripts/{job.rule}.py", *options]
