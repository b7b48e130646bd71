"""Let a server finish what it has taken and take no more: its models are unloaded first.

Told to end, tritonserver waits for every HTTP connection to close, idle ones of keep-alive included, and
answers new requests over gRPC all that time. Unloading is what it does well: requests that wait or are
computed are answered, new ones are refused at once, and its index says when the last answer is out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from pathlib import Path

from triton_repo.control import Control, ControlError

_POLL_SECONDS = 0.05
_BUSY = ("READY", "LOADING", "UNLOADING")


def finish(control: Control, pause: Callable[[float], bool]) -> bool:
    """Unload every model and wait until no request is in flight; True if that came about.

    ``pause`` waits so many seconds and says whether to give up. False also for a server that does not let
    itself be asked.
    """
    try:
        for model in dict.fromkeys(state.model for state in control.index() if state.state in _BUSY):
            with contextlib.suppress(ControlError):  # gone by itself
                control.unload(model)
        while any(state.state in _BUSY for state in control.index()):
            if pause(_POLL_SECONDS):
                return False
    except ControlError:
        return False
    return True


def has_unsent(ports: Collection[int]) -> bool:
    """Whether answers from these ports of this machine are still on their way to a client."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                _, local, _, _, queues, *_ = line.split()
                if int(local.rpartition(":")[2], 16) in ports and int(queues.partition(":")[0], 16):
                    return True
    return False
