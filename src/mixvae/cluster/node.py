"""Looks for what a study needs on this machine, and makes remarks on what its user should change."""

import os
import platform
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mixvae.errors import UserError
from mixvae.fitting import gpus
from mixvae.study.place import RESULTS

FREE_GB = 5
"""Disk space below which a warning is given."""

Remark = tuple[str, str]
"""(level, text): ok, warning or error, and one line that says what was found and what to do."""
Line = tuple[str, str, str]
"""(level, heading, text): a remark with the heading under which it is printed."""


def observe(gpu: bool) -> dict[str, Any]:
    """Return facts about this machine that JSON can hold; with `gpu`, also whether torch computes on a GPU."""
    RESULTS.mkdir(exist_ok=True)
    facts: dict[str, Any] = {
        "node": platform.node(),
        "python": platform.python_version(),
        "folder": str(Path.cwd()),
        "writable": os.access(Path.cwd(), os.W_OK) and os.access(RESULTS, os.W_OK),
        "free_gb": shutil.disk_usage(RESULTS).free / 1e9,
        "environment": sys.prefix,
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "gpu": gpu,
    }
    try:
        import torch
    except (ImportError, OSError) as error:
        return facts | {"torch": None, "trouble": _first_line(error)}
    facts |= {"torch": torch.__version__, "cuda": torch.version.cuda}
    if gpu:
        try:
            # a GPU that is too old or too new for this torch is seen, but computes nothing
            (torch.ones(2, device="cuda") + 1).sum().item()
            facts |= {"device": torch.cuda.get_device_name(), "devices": torch.cuda.device_count(), "mps": gpus.mps_runs()}
        except (RuntimeError, AssertionError) as error:
            facts["trouble"] = _first_line(error)
    return facts


def remarks(facts: dict[str, Any], path: Path, instead: str, job: bool) -> Iterator[Remark]:
    """Yield remarks on what the facts mean for a study with the profile `path`; `instead` says how to do without a GPU.

    With `job`, SLURM gave the machine, and with it the GPU.
    """
    node, folder = facts["node"], facts["folder"]
    yield "ok", f"python {facts['python']} with mixvae starts on {node}"
    refused = f"{folder} cannot be written on {node}; change its permissions or move the project"
    yield ("ok", f"{folder} can be read and written on {node}") if facts["writable"] else ("error", refused)
    free = f"{facts['free_gb']:.1f} GB are free for {RESULTS}/"
    little = f"only {free}; make room, or link {RESULTS}/ to where there is more"
    yield ("ok", free) if facts["free_gb"] > FREE_GB else ("warning", little)
    if job and (said := facts.get("scontrol")):
        yield "warning", f"on {node} {said}; without it a training cannot requeue itself: raise its runtime in {path}"
    elif job:
        yield "ok", f"scontrol answers on {node}, so a training can requeue itself before its time limit"
    if facts["torch"] is None:
        cure = f"install envs/requirements.lock into {facts['environment']}"
        yield "error", f"torch cannot be imported on {node} ({facts['trouble']}); {cure}"
        return
    yield "ok", f"torch {facts['torch']} can be imported on {node}"
    if facts["gpu"]:
        yield _on_gpu(facts, path, instead, job)


def _on_gpu(facts: dict[str, Any], path: Path, instead: str, job: bool) -> Remark:
    node, given = facts["node"], facts["visible"]
    if "device" in facts:
        return "ok", f"torch computes on {facts['device']} of {node}"
    if job and given is None:
        way = f"ask for one in the cluster's own way (gres) in {path}"
        return "error", f"{node} gave no GPU (CUDA_VISIBLE_DEVICES is not set); {way}"
    where = f"on {node}" if given is None else f"{node} {'gave' if job else 'has'} CUDA_VISIBLE_DEVICES={given}, but"
    if facts["cuda"] is None:
        trouble = "is a CPU build and sees no GPU"
        cure = f"install its CUDA build into {facts['environment']}"
    else:
        trouble = f"for CUDA {facts['cuda']} cannot compute on a GPU ({facts['trouble']})"
        cure = "install a torch for the CUDA of the node's driver, or have the driver updated"
    return "error", f"{where} torch {facts['torch']} {trouble}; {cure}, or {instead}"


def sharing(facts: dict[str, Any], runs: int) -> Iterator[Remark]:
    """Yield a remark on how this many runs at a time share the GPUs, or none if they need not share."""
    if "device" not in facts or runs <= facts["devices"]:
        return
    gpus_here = "its GPU" if facts["devices"] == 1 else f"its {facts['devices']} GPUs"
    if facts["mps"]:
        yield "ok", f"NVIDIA's MPS runs on {facts['node']}: {runs} runs at a time compute together on {gpus_here}"
    else:
        cure = "start NVIDIA's MPS first, for a few times the speed: nvidia-cuda-mps-control -d"
        yield "warning", f"{runs} runs at a time take turns on {gpus_here}; {cure}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def under(heading: str, remarks: Iterable[Remark]) -> Iterator[Line]:
    """Yield remarks as lines under a heading; a UserError that ends them becomes a line of level error."""
    try:
        for level, text in remarks:
            yield level, heading, text
    except UserError as error:
        yield "error", heading, str(error)
