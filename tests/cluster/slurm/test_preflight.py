"""The preflight, on a real cluster: it says go when all is well, and names each thing that would stop a study."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.project import ROOT, run_script

from mixvae.cluster import node, profiles
from mixvae.cluster import slurm as commands
from mixvae.errors import UserError

PROFILE = {"executor": "slurm", "slurm-status-command": "squeue", "latency-wait": 3}
PATH = Path("workflow/profiles/try/config.yaml")
STUDY = {"study": "s", "runs": [{"dataset": "digits", "likelihood": {"name": "bernoulli"}, "model": "constant"}]}


@pytest.fixture
def empty_queue(slurm):
    """Leave no job behind, whatever a test found."""
    yield
    commands.cancel(commands.queue(), timeout=30)


@pytest.fixture
def preflight(tmp_path):
    """Return a function that runs the preflight of a profile in a project of its own."""

    def run(profile: dict, *arguments: str, gpu: int | None = None, **options) -> subprocess.CompletedProcess:
        (tmp_path / PATH).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / PATH).write_text(yaml.safe_dump(PROFILE | profile))
        if gpu is not None:
            (tmp_path / "s.yaml").write_text(yaml.safe_dump(STUDY | {"gpu": gpu}))
            arguments = ("--study", "s.yaml", *arguments)
        done = run_script("preflight", "try", *arguments, cwd=tmp_path, **options)
        assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        assert not list((tmp_path / "results").glob(".preflight-*"))
        return done

    return run


def errors(done: subprocess.CompletedProcess) -> list[str]:
    return [line for line in done.stdout.splitlines() if line.startswith("error")]


def test_all_is_well(slurm, preflight):
    done = preflight({"default-resources": {"slurm_partition": "main", "slurm_extra": "--signal=USR1@120"}}, gpu=0)
    assert done.returncode == 0, done.stdout + done.stderr
    levels = [line.split()[0] for line in done.stdout.splitlines()]
    assert levels == ["ok"] * 9 + ["preflight"]
    for what in ("main, is up", "squeue, with accounting off", f"starts on {slurm.NODE}", "can be read and written", "torch 2"):
        assert what in done.stdout
    assert commands.jobs_of(Path("/"), "mixvae-preflight") == commands.queue() == []


def test_wrong_partition(slurm, preflight):
    done = preflight({"default-resources": ["slurm_partition=nope", "mem_mb=100"]})
    assert done.returncode == 1
    about_partition, about_job = errors(done)
    assert about_partition == f"error   partition: no partition nope; set slurm_partition in {PATH} to one of closed, main"
    assert "Invalid partition name specified; asked for --partition=nope" in about_job
    assert done.stdout.splitlines()[-1] == "preflight of try: not ready; errors: 2, warnings: 0"


def test_pending_for_ever(slurm, empty_queue, preflight):
    done = preflight({"set-resources": {"train": {"slurm_partition": "closed"}}}, "--wait", "2", gpu=0, timeout=60)
    assert done.returncode == 1
    about_partition, about_job = errors(done)
    assert "closed is DOWN" in about_partition
    assert "job (train): still pending (PartitionDown), now cancelled; asked for --partition=closed" in about_job
    assert "ok      job (other rules, evaluate, bracket): python" in done.stdout
    assert commands.queue() == []


@pytest.mark.parametrize(
    ("resources", "reason"),
    [({"constraint": "a100"}, "Invalid feature"), ({"gres": "gpu:9"}, "Requested node configuration is not available")],
)
def test_impossible_requests(slurm, preflight, resources, reason):
    done = preflight({"default-resources": resources})
    assert done.returncode == 1
    assert reason in errors(done)[0]
    assert f"in {PATH}" in errors(done)[0]


@pytest.mark.parametrize("rules", [{}, {rule: {"gpu": 0, "gres": "gpu:1"} for rule in profiles.GPU_RULES}])
def test_torch_without_gpu(slurm, preflight, rules):
    done = preflight({"set-resources": rules}, gpu=1)
    assert done.returncode == 1
    (about_gpu,) = errors(done)
    assert about_gpu.startswith(
        f"error   GPU job (train, evaluate, bracket): {slurm.NODE} gave CUDA_VISIBLE_DEVICES=0, but torch 2"
    )
    assert about_gpu.endswith("or set gpu: 0 in s.yaml")


def test_gpu_for_a_study_without(slurm, preflight):
    done = preflight({"set-resources": ["train:gres=gpu:1"]}, gpu=0)
    assert f"warning gpu: {PATH} asks for one for train, but s.yaml says gpu: 0" in done.stdout


def test_status_checks_too_rare(slurm, preflight):
    done = preflight({"slurm-init-seconds-before-status-checks": 101})
    assert done.returncode == 1
    (about_status,) = errors(done)
    assert about_status.startswith("error   status: SLURM forgets a finished job after MinJobAge = 300 sec")
    assert about_status.endswith(f"set slurm-init-seconds-before-status-checks: 100 or less (now 101) in {PATH}")


def test_node_that_does_not_see_the_project(slurm, preflight, tmp_path):
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("mount namespaces are not allowed here")
    slurm.kill_slurmd()
    try:
        slurm.start_slurmd("unshare", "--mount", "sh", "-c", f'mount -t tmpfs none {tmp_path} && exec "$@"', "sh")
        done = preflight({})
    finally:
        slurm.kill_slurmd()
        slurm.start_slurmd()
    assert done.returncode == 1
    assert f"without a word; move {tmp_path} to a file system that every node sees" in errors(done)[0]


def test_no_controller(slurm, preflight, tmp_path):
    conf = slurm.CONF.read_text() + "SlurmctldPort=1\n"
    (tmp_path / "slurm.conf").write_text(conf)
    done = preflight({}, env=os.environ | {"SLURM_CONF": str(tmp_path / "slurm.conf")})
    assert done.returncode == 1
    (about_controller,) = errors(done)
    assert about_controller.endswith("SLURM's controller does not answer, try again later")


def test_no_commands(preflight):
    done = preflight({}, env=os.environ | {"PATH": str(Path(sys.executable).parent)})
    assert done.returncode == 1
    assert errors(done)[0].startswith("error   commands: no sbatch, squeue, scancel, scontrol, sinfo on PATH")


def test_no_cluster_in_the_profile(preflight):
    assert preflight({"executor": "local", "resources": ["gpu=8"]}, gpu=0).returncode == 0
    for done in (preflight({"executor": "local"}, gpu=1), preflight({"executor": "local", "resources": ["gpu=8"]})):
        assert len([line for line in done.stdout.splitlines() if "torch computes on" in line or "GPU" in line]) == 1
        assert done.returncode == bool(errors(done))


def test_mistakes_are_one_line(preflight, tmp_path):
    preflight({"executor": "local"})
    for arguments, message in (
        (["slrm"], "workflow/profiles/slrm: no such profile; there are try"),
        (["try", "--study", "no.yaml"], "no.yaml: no such config file; STUDY is a name in config/ or a path"),
    ):
        done = run_script("preflight", *arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"error: {message}\n")


def test_a_python_that_does_not_start(slurm, preflight, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import os, sys\nif 'SLURM_JOB_ID' in os.environ: sys.exit('no such library')\n")
    done = preflight({}, env=os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT / 'src'}"})
    assert done.returncode == 1
    assert f"on {slurm.NODE} it ended as FAILED: SystemExit: no such library; see that the environment" in errors(done)[0]


def test_a_command_that_hangs():
    with pytest.raises(UserError, match=r"^sleep: no answer in 0.1 s"):
        commands.call("sleep", "9", timeout=0.1)


def test_jobs_are_found_and_cancelled(slurm, empty_queue, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    stubborn = "trap '' TERM; while :; do sleep 1; done"
    options = ["--output=/dev/null", "--comment=rule_train_wildcards_a|b"]
    mine = commands.submit(stubborn, "--job-name=mixvae-1", f"--chdir={tmp_path}", *options)
    more = commands.submit("sleep 99", "--job-name=mixvae-2", f"--chdir={tmp_path / 'link'}", "--array=0-1", *options)
    others = [
        commands.submit("sleep 99", "--job-name=mixvae-1", f"--chdir={tmp_path / 'other'}", *options),
        commands.submit("sleep 99", "--job-name=another", f"--chdir={tmp_path}", *options),
    ]
    found = commands.jobs_of(tmp_path, "mixvae")
    assert {job.id for job in found} == {mine, f"{more}_0", f"{more}_1"}
    assert {job.comment for job in found} == {"rule_train_wildcards_a|b"}
    slurm.wait_until(lambda: commands.find_job(mine).state == "RUNNING", 10, "the job does not start")
    with pytest.raises(UserError, match=f"^job .*{mine}.*: still in the queue 0 s after scancel"):
        commands.cancel(found, timeout=0)
    commands.cancel(found, timeout=30)
    assert {job.id for job in commands.queue()} == set(others)
    assert commands.find_job(mine).state == "CANCELLED"
    assert commands.find_job("999999") is None


ON, OFF = {"AccountingStorageType": "accounting_storage/slurmdbd"}, {"AccountingStorageType": "accounting_storage/none"}


@pytest.mark.parametrize(
    ("wanted", "first_check", "age", "accounting", "sacct", "level"),
    [
        ("squeue", 40, "120 sec", OFF, True, None),
        ("squeue", 40, "119 sec", OFF, True, "error"),  # Snakemake falls back to sacct, which knows nothing
        ("squeue", 40, "119 sec", OFF, False, "error"),
        ("squeue", 40, "119 sec", ON, True, "warning"),
        ("squeue", 40, "119 sec", ON, False, "error"),
        ("squeue", 39, "119 sec", OFF, True, None),
        ("squeue", 40, "unknown", OFF, True, "error"),
        ("sacct", 40, "2 sec", ON, True, None),
        ("sacct", 40, "300 sec", OFF, True, "error"),
        ("sacct", 40, "300 sec", ON, False, "error"),
        ("squeue", 40, "300 sec", {"AccountingStorageType": "(null)"}, True, None),
    ],
)
def test_status_command(wanted, first_check, age, accounting, sacct, level):
    trouble = commands.status_trouble(wanted, first_check, accounting | {"MinJobAge": age}, sacct)
    assert (trouble and trouble[0]) == level


def test_requests_of_a_profile():
    mapping = {
        "default-resources": {"slurm_partition": "cpu", "slurm_account": 12},
        "set-resources": {"train": {"slurm_partition": "gpu", "gpu": 2}},
    }
    listed = {
        "default-resources": ["slurm_partition=cpu", "slurm_account='12'"],
        "set-resources": ["train:slurm_partition=gpu", "train:gpu=2"],
    }
    for profile in (mapping, listed):
        found = {request.rules: (request.gpu, request.options()) for request in profiles.requests(PATH, profile, 1)}
        assert found == {
            "other rules": (False, ["--partition=cpu", "--account=12"]),
            "train": (True, ["--partition=gpu", "--account=12", "--gpus=2"]),
            "evaluate, bracket": (True, ["--partition=cpu", "--account=12", "--gpus=1"]),
        }
    with pytest.raises(UserError, match="default-resources: expected name: value or a list of name=value, found 3"):
        profiles.requests(PATH, {"default-resources": 3}, None)


FACTS = {
    "node": "n1", "python": "3.12.1", "folder": "/p", "writable": True, "free_gb": 99.0, "environment": "/p/.venv",
    "visible": "0", "gpu": True, "torch": "2.13.0+cu130", "cuda": "13.0", "trouble": "driver too old", "scontrol": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "level", "text"),
    [
        ({"device": "H100"}, "ok", "torch computes on H100 of n1"),
        (
            {},
            "error",
            "n1 gave CUDA_VISIBLE_DEVICES=0, but torch 2.13.0+cu130 for CUDA 13.0 cannot compute on a GPU (driver too",
        ),
        ({"visible": None}, "error", "n1 gave no GPU"),
        ({"cuda": None}, "error", "is a CPU build and sees no GPU; install its CUDA build into /p/.venv, or do without"),
        ({"torch": None, "trouble": "no such module"}, "error", "torch cannot be imported on n1 (no such module); install"),
        ({"writable": False, "device": "H100"}, "error", "/p cannot be written on n1"),
        ({"free_gb": 1.0, "device": "H100"}, "warning", "only 1.0 GB are free for results/"),
        ({"scontrol": "scontrol: no such command", "device": "H100"}, "warning", "cannot requeue itself"),
    ],
)
def test_what_a_node_has(change, level, text):
    found = list(node.remarks(FACTS | change, PATH, "do without", job=True))
    assert [(one, line) for one, line in found if text in line and one == level]
    assert {one for one, _ in found} <= {"ok", level}
