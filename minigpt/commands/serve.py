"""minigpt serve: a model for programs that speak OpenAI's protocol, and a page to chat on."""

import socket
from pathlib import Path
from typing import Literal, Optional

from minigpt.commands.finding import load
from minigpt.config import InputError

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(
    model: str = "smollm2",
    adapter: Optional[Path] = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    weights: Literal["float32", "int8"] = "float32",
    device: str = "auto",
) -> int:
    """Serve a model over HTTP, on this machine only unless --host says otherwise. Ctrl-C ends.

    Args:
        model: as for `minigpt chat`.
        adapter: as for `minigpt chat`.
        host: the address to listen on; 0.0.0.0 lets every machine that reaches this one ask.
        port: where to listen.
        weights: int8 keeps the matrices in 8 bits.
        device: auto, cpu, cuda, ….
    """
    try:
        import uvicorn

        from minigpt.commands.serving import make_app
    except ImportError as problem:
        raise InputError(f"{problem.name} is not installed: pip install 'minigpt-course[serve]'") from None
    from minigpt import runtime
    from minigpt.model.int8 import to_int8

    if not 0 <= port < 65536:
        raise InputError(f"port is {port}; it must be from 0 (any that is free) to 65535")
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as problem:
        raise InputError(
            f"port {port} on {host} cannot be used ({problem.strerror}): another program may listen there; name "
            "another with --port"
        ) from None
    with listener:
        loaded, used = load(model, adapter)
        if weights == "int8":
            loaded = to_int8(loaded)
        hosts = LOOPBACK if host in LOOPBACK else ("*",)
        app = make_app(loaded.to(runtime.pick_device(device)), used, model, hosts=hosts)
        url = f"http://{host}:{listener.getsockname()[1]}"
        print(f"{url} is a page to chat on; programs add /v1. Ctrl-C ends.", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
    return 0
