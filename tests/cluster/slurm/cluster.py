"""A real SLURM cluster of one node, this machine.

By hand: `python tests/cluster/slurm/cluster.py up [KillWait=5 ...] | down | restart-slurmd | status`. It needs root and Debian's
packages, and keeps away from a machine that has a SLURM of its own. To the scheduler two fake GPUs are as good as real ones.
The configuration lies where SLURM looks by itself, since Snakemake's jobs drop the variable SLURM_CONF.
"""

import argparse
import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

STATE = Path(tempfile.gettempdir()) / "mixvae-slurm"
ETC = Path("/etc/slurm")
CONF, GRES = ETC / "slurm.conf", ETC / "gres.conf"
MARK = "# written by tests/cluster/slurm/cluster.py of mixvae, which also removes it"
NODE = socket.gethostname().split(".")[0]
GPUS = [Path(f"/dev/mixvaegpu{i}") for i in range(2)]
PROGRAMS = ("slurmctld", "slurmd", "scontrol", "squeue", "sbatch", "munged", "munge")

OPTIONS = {
    "KillWait": 30,  # seconds between SIGTERM and SIGKILL
    "MinJobAge": 300,  # seconds that squeue knows a finished job
    "SlurmdTimeout": 30,  # seconds after which a silent node is down
    "RequeueDelay": 120,  # seconds until a requeued job may start again; SLURM takes 5 or more
    "CPUs": os.cpu_count(),  # may be more than there are, for many jobs that only wait
}

SHORT_DELAYS = {"KillWait": 3, "RequeueDelay": 5, "SlurmdTimeout": 5, "CPUs": 16}
"""For tests."""

TEXT = """\
{mark}
# state: {state}
ClusterName=mixvae
SlurmctldHost={node}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# how long a requeued job waits hangs on the lifetime of a job's credential
AuthInfo=cred_expire={RequeueDelay}
StateSaveLocation={state}/slurmctld
SlurmdSpoolDir={state}/slurmd
SlurmctldPidFile={state}/slurmctld.pid
SlurmdPidFile={state}/slurmd.pid
SlurmctldLogFile={state}/slurmctld.log
SlurmdLogFile={state}/slurmd.log
SlurmdParameters=config_overrides
SlurmdTimeout={SlurmdTimeout}
# by process groups, since what has lost its parent must end with its job, too
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
# a job that takes more memory than it asked for is killed, as it is by cgroups on most clusters
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
# jobs start at once, and not with the next regular round of the scheduler
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
ReturnToService=2
AccountingStorageType=accounting_storage/none
GresTypes=gpu
MpiDefault=none
KillWait={KillWait}
MinJobAge={MinJobAge}
NodeName={node} NodeAddr=127.0.0.1 CPUs={CPUs} RealMemory={memory} Gres=gpu:{gpus}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=closed Nodes=ALL MaxTime=60 State=DOWN
"""


def unavailable() -> str | None:
    """Return why no cluster can run here, in one line, or None."""
    if missing := [program for program in PROGRAMS if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None]:
        return f"no {', '.join(missing)} here; on Debian: apt-get install slurm-wlm munge"
    if os.geteuid() != 0:
        return "a SLURM cluster of one's own needs root"
    for path in (CONF, GRES):
        if (path.exists() or path.is_symlink()) and not _ours(path):
            return f"{path} is not ours: this machine belongs to a cluster"
    if "SLURM_CONF" in os.environ:
        return "SLURM_CONF is set: this machine belongs to a cluster"
    # with attributes, a process that ends while it is looked at is passed over
    every = [process.info for process in psutil.process_iter(["name", "status"])]
    running = {process["name"] for process in every if process["status"] != psutil.STATUS_ZOMBIE}
    if not CONF.exists() and (others := running & {"slurmctld", "slurmd"}):
        return f"{', '.join(sorted(others))} runs here already: this machine belongs to a cluster"
    if not (all(gpu.exists() for gpu in GPUS) or _can_make_devices()):
        return "device nodes cannot be made here (mknod), and the fake GPUs are such"
    return None


def up(state: Path = STATE, **options: int) -> None:
    """Start the cluster, with OPTIONS, and return when its node takes jobs; one that runs like that stays as it is."""
    if unknown := set(options) - set(OPTIONS):
        raise SystemExit(f"unknown option {min(unknown)}; there are {', '.join(OPTIONS)}")
    if reason := unavailable():
        raise SystemExit(reason)
    memory = psutil.virtual_memory().total // 2**20
    values = {"node": NODE, "mark": MARK, "state": state, "memory": memory, "gpus": len(GPUS)} | OPTIONS | options
    text = TEXT.format(**values)
    if CONF.exists() and CONF.read_text() == text and all(_process(daemon) for daemon in ("slurmctld", "slurmd")):
        return wait_for_node()
    down()
    for folder in (state / "slurmctld", state / "slurmd"):
        # what a killed cluster saved there would bring its jobs back to life
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    if not ETC.exists():
        _note(state, ETC)
        ETC.mkdir()
    CONF.write_text(text)
    _note(state, GRES)
    GRES.write_text(f"{MARK}\nNodeName={NODE} Name=gpu File={GPUS[0].with_name('mixvaegpu')}[0-{len(GPUS) - 1}]\n")
    for gpu in GPUS:
        if not gpu.exists():
            _note(state, gpu)
            os.mknod(gpu, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    if not _answers("munge", "-n"):
        _note(state, "munged")
        Path("/run/munge").mkdir(exist_ok=True)
        shutil.chown("/run/munge", "munge", "munge")
        subprocess.run(["setpriv", "--reuid=munge", "--regid=munge", "--clear-groups", "munged"], env=_env(), check=True)
    subprocess.run(["slurmctld"], env=_env(), check=True, stdout=subprocess.DEVNULL)
    start_slurmd()


def down() -> None:
    """End the cluster with all its jobs and remove what `up` made."""
    if not CONF.exists() or not _ours(CONF):
        return
    state = _state()
    kill_slurmd(with_jobs=True)
    _end(_process("slurmctld"), signal.SIGTERM)
    made = (state / "made").read_text().splitlines() if (state / "made").exists() else []
    if "munged" in made:
        subprocess.run(["munged", "--stop"], env=_env(), capture_output=True)
        made.remove("munged")
    CONF.unlink()
    for path in map(Path, reversed(made)):
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
    shutil.rmtree(state, ignore_errors=True)


def kill_slurmd(with_jobs: bool = False) -> None:
    """Kill the node's daemon as a crash does, `with_jobs` as a power failure does; SLURM then takes some time to see it."""
    _end(_process("slurmd"), signal.SIGKILL)
    if with_jobs:
        for step in [process for process in psutil.process_iter(["name"]) if process.info["name"] == "slurmstepd"]:
            with contextlib.suppress(psutil.NoSuchProcess):
                processes = [step, *step.children(recursive=True)]
                for process in processes:
                    _end(process, signal.SIGKILL)


def start_slurmd(*within: str) -> None:
    """Start the node's daemon, `within` another command such as unshare, and return when the node takes jobs."""
    if _process("slurmd") is None:
        subprocess.run([*within, "slurmd"], env=_env(), check=True, stdout=subprocess.DEVNULL)
    wait_until(
        lambda: _process("slurmd") and _answers("scontrol", "show", "slurmd"), 30, f"no slurmd; see {_state()}/slurmd.log"
    )
    wait_for_node()


def wait_for_node(wanted: str = "idle|mixed|allocated", timeout: float = 30) -> None:
    """Return when the node is in one of the states."""
    wait_until(lambda: node_state() in wanted.split("|"), timeout, f"the node is not {wanted}; see {_state()}/slurm*.log")


def node_state() -> str:
    """Return the node's state as sinfo has it, e.g. idle, or down* where its daemon does not answer."""
    command = ["sinfo", "--noheader", "--partition=main", "--format=%T"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def wait_until(condition: Callable[[], object], timeout: float, otherwise: str) -> None:
    """Return when the condition holds; ends with the line `otherwise` when it does not in time."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(otherwise)
        time.sleep(0.1)


def status() -> str:
    """Say in a line what runs."""
    if not (CONF.exists() and _ours(CONF)):
        return unavailable() or "no cluster"
    daemons = [f"{name} {process.pid}" if (process := _process(name)) else f"no {name}" for name in ("slurmctld", "slurmd")]
    return f"{', '.join(daemons)}, node {node_state() or 'unknown'}, state in {_state()}"


def _env() -> dict[str, str]:
    return os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin"}


def _answers(*command: str) -> bool:
    return subprocess.run(command, env=_env(), capture_output=True).returncode == 0


def _ours(path: Path) -> bool:
    return path.is_file() and path.read_text().startswith(MARK)


def _state() -> Path:
    return Path(CONF.read_text().splitlines()[1].removeprefix("# state: "))


def _note(state: Path, made: Path | str) -> None:
    """Remember what is about to be made, so that `down` removes that and nothing else."""
    with (state / "made").open("a") as file:
        file.write(f"{made}\n")


def _can_make_devices() -> bool:
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(OSError):
        os.mknod(Path(folder, "null"), stat.S_IFCHR, os.makedev(1, 3))
        return True
    return False


def _process(name: str) -> psutil.Process | None:
    """Return the daemon of our cluster, if it runs; a number that is another program's by now is not taken for it."""
    with contextlib.suppress(OSError, ValueError, psutil.NoSuchProcess):
        process = psutil.Process(int((_state() / f"{name}.pid").read_text()))
        return process if process.name() == name and process.status() != psutil.STATUS_ZOMBIE else None
    return None


def _end(process: psutil.Process | None, number: signal.Signals) -> None:
    """Signal a process, if there is one, and wait for its end."""
    if process is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
            # a container's first process may be slow to collect the dead
            wait_until(lambda: process.status() == psutil.STATUS_ZOMBIE, 10, f"process {process.pid} does not end")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=("up", "down", "restart-slurmd", "status"))
    parser.add_argument("options", nargs="*", help=f"for up: {' '.join(f'{key}={value}' for key, value in OPTIONS.items())}")
    parser.add_argument("--state", type=Path, default=STATE)
    arguments = parser.parse_args()
    if arguments.command == "up":
        pairs = (option.partition("=") for option in arguments.options)
        up(arguments.state, **{key: int(value) for key, _, value in pairs})
    elif arguments.command == "down":
        down()
    elif arguments.command == "restart-slurmd":
        kill_slurmd()
        start_slurmd()
    print(status())


if __name__ == "__main__":
    sys.exit(main())
