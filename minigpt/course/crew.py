"""A few Python processes that wait for work: what a lesson needs to rehearse many GPUs on one CPU."""

import inspect
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

LIMIT = 300.0
"""Seconds: a process that needs longer for one job waits for something that never comes."""

WAIT_FOR_JOBS = """
import json, sys, traceback
for line in sys.stdin:
    source, call = json.loads(line)
    try:
        exec(source, globals())
        answer = {"result": eval(call)}
    except BaseException:
        answer = {"error": traceback.format_exc()}
    print(json.dumps(answer), flush=True)
    if "error" in answer:
        break
"""


class Crew:
    """n Python processes that differ in one thing, their RANK; they find each other on this machine.

    Args:
        n: how many.
        imports: source code that each runs first.
        limit: seconds that they have for one job.
    """

    def __init__(self, n: int, imports: str, limit: float = LIMIT) -> None:
        with socket.socket() as any_free_port:
            any_free_port.bind(("127.0.0.1", 0))
            port = any_free_port.getsockname()[1]
        group = os.environ | {"WORLD_SIZE": str(n), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        command = [sys.executable, "-c", imports + WAIT_FOR_JOBS]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.processes: list[Any] = [
            subprocess.Popen(command, env=group | {"RANK": str(rank)}, text=True, **pipes) for rank in range(n)
        ]
        self.limit = limit

    def run(self, job: Callable[..., Any], *arguments: Any, needs: tuple[Callable[..., Any], ...] = ()) -> list[Any]:
        """Let all processes run a function at the same time; return what each returned, by rank.

        Args:
            job: a function; its source code is what the processes get.
            arguments: what it is called with, of kinds that their `repr` makes again.
            needs: further functions that it calls.

        Raises:
            RuntimeError: when a process stopped with an error, died, or did not answer in time; all have ended then.
        """
        source = "\n".join(inspect.getsource(function) for function in (*needs, job))
        order = json.dumps([source, f"{job.__name__}(*{arguments!r})"])
        answers: list[dict[str, Any]] = [{}]
        patience = threading.Timer(self.limit, self._kill)  # a killed process answers with nothing
        patience.start()
        try:
            if all(process.poll() is None for process in self.processes):
                for process in self.processes:
                    print(order, file=process.stdin, flush=True)
                answers = [json.loads(process.stdout.readline() or "{}") for process in self.processes]
        except BrokenPipeError:
            pass  # one has just died
        finally:
            patience.cancel()
        silent = f"no answer: it died, or needed more than {self.limit:g} seconds"
        if problems := [answer.get("error", silent) for answer in answers if "result" not in answer]:
            self.dismiss()
            raise RuntimeError("\n".join(["Run the cell that starts this crew again. A process says:", *problems]))
        return [answer["result"] for answer in answers]

    def dismiss(self) -> None:
        """End the processes."""
        self._kill()
        for process in self.processes:
            process.communicate()

    def _kill(self) -> None:
        for process in self.processes:
            process.kill()
