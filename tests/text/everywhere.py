"""What another Python prints, whatever the order of its sets."""

import os
import subprocess
import sys


def printed(program: str) -> set[str]:
    """What a program prints, run with two seeds of the hashes on which the order of a set depends."""
    runs = (
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True,
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
        )
        for hash_seed in ("0", "1")
    )  # fmt: skip
    return {run.stdout.strip() for run in runs}
