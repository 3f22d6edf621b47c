"""The Slurm script of lesson 12, run as it stands, with stand-ins for Slurm and for minigpt."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import tyro

from minigpt.commands.training import STOPPED, Train

LESSON = Path(__file__).parents[2] / "notebooks" / "12_many_gpus.ipynb"
SLURM = {
    "SLURM_JOB_NODELIST": "n[7-10]", "SLURM_JOB_ID": "123456", "SLURM_NTASKS": "32", "SLURM_NTASKS_PER_NODE": "8",
    "SLURM_CPUS_PER_TASK": "8",
}  # fmt: skip

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a script for bash")


def script() -> str:
    """The block of lesson 12 that a reader saves as job.sh."""
    cells = nbformat.read(LESSON, as_version=4).cells
    blocks = [block for cell in cells for block in re.findall(r"^```bash\n(.*?)^```$", cell.source, re.M | re.S)]
    (job,) = [block for block in blocks if "SBATCH" in block]
    return str(job)


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """A folder with the script, and with programs that write down how they were called; srun starts one of 32."""
    note = "import json, os, sys; json.dump([sys.argv[1:], dict(os.environ)], open('called.json', 'w'))"
    files = {
        "bin/scontrol": '#!/bin/bash\necho "$@" >> scontrol.log; [ $1 = show ] && printf "n7\\nn8\\n"; true\n',
        "bin/srun": '#!/bin/bash\n[[ $1 = --kill* ]] && shift\nexport SLURM_PROCID=9 SLURM_LOCALID=1; "$@"\n',
        "bin/minigpt": f'#!/bin/bash\n{sys.executable} -c "{note}" "$@"; exit $ENDS_WITH\n',
        "job.sh": script(),
    }
    (tmp_path / "bin").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    return tmp_path


def submit(cluster: Path, ends_with: int) -> tuple[int, list[str], dict[str, str]]:
    """Run the script as sbatch does: its exit status, and minigpt's arguments and environment."""
    environment = os.environ | SLURM | {"PATH": f"{cluster / 'bin'}:{os.environ['PATH']}", "ENDS_WITH": str(ends_with)}
    status = subprocess.run([cluster / "job.sh"], cwd=cluster, env=environment, check=False, timeout=60).returncode
    arguments, seen = json.loads((cluster / "called.json").read_text())
    return status, arguments, seen


def test_a_process_learns_its_group_and_gets_arguments_that_train_understands(cluster: Path) -> None:
    status, (command, *arguments), seen = submit(cluster, ends_with=0)
    assert (status, command) == (0, "train")
    group = {"RANK": "9", "LOCAL_RANK": "1", "WORLD_SIZE": "32", "LOCAL_WORLD_SIZE": "8"}
    meeting_point = {"MASTER_ADDR": "n7", "MASTER_PORT": str(20000 + 123456 % 10000)}
    assert group | meeting_point == {name: seen[name] for name in group | meeting_point}
    assert seen["SRUN_CPUS_PER_TASK"] == SLURM["SLURM_CPUS_PER_TASK"], "srun gives one core otherwise"
    asked = tyro.cli(Train, args=arguments)
    assert (asked.out, asked.data, asked.resume) == (Path("run"), "tokens", False)
    assert asked.train.batch_size % 32 == 0 and asked.train.accumulate == 1
    assert "requeue" not in (cluster / "scontrol.log").read_text()


def test_a_run_that_was_stopped_is_queued_again_and_goes_on(cluster: Path) -> None:
    submit(cluster, ends_with=STOPPED)
    assert "requeue 123456" in (cluster / "scontrol.log").read_text().splitlines()
    (cluster / "run" / "checkpoints" / "step-00000500.unfinished").mkdir(parents=True)
    _, arguments, _ = submit(cluster, ends_with=0)
    assert not tyro.cli(Train, args=arguments[1:]).resume, "there is no checkpoint yet"
    (cluster / "run" / "checkpoints" / "step-00000500").mkdir()
    _, arguments, _ = submit(cluster, ends_with=0)
    asked = tyro.cli(Train, args=arguments[1:])
    assert (asked.out, asked.resume) == (Path("run"), True)


def test_an_error_ends_the_job_with_its_exit_status(cluster: Path) -> None:
    status, _, _ = submit(cluster, ends_with=2)
    assert status == 2
    assert "requeue" not in (cluster / "scontrol.log").read_text()
