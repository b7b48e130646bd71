"""Start a program so that it ends with this one, and so that its keys do not stand in the process list.

Every local user can read a process's command line. So the child is stopped at its first instruction: where an
argument that holds a key is to be, it has a word of no meaning; the argument itself lies in the environment,
which only its owner can read, and the child's argument list is made to point there.
"""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import BinaryIO

_DETACH = 17  # linux/ptrace.h
_START_STACK, _ENV_START, _ENV_END = 28, 50, 51  # fields of /proc/PID/stat, from 1
_VARIABLE = "SSR_SERVE_ARGUMENT_"
_HIDDEN = "(hidden)"

# Runs the program as a child that the kernel ends when the thread that started it is gone, kill -9 included.
# It may open as many files as the hard limit says, a million at most: some programs close them all.
# Says on descriptor ``tell`` whether it lets itself be stopped at the start.
_GUARD = """
import ctypes, os, resource, sys
libc = ctypes.CDLL(None)
libc.prctl(1, 15)
parent, tell, *command = sys.argv[1:]
if os.getppid() != int(parent):
    sys.exit(1)
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
most = hard if 0 <= hard < 1 << 20 else 1 << 20
if 0 <= soft < most:
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
if int(tell) >= 0:
    os.write(int(tell), b"y" if libc.ptrace(0, 0, None, None) == 0 else b"n")
    os.close(int(tell))
os.execv(command[0], command)
"""


class CannotHide(Exception):
    """This system does not let a process stop its own child (ptrace), as some containers do not."""


def start(
    command: Sequence[str],
    log: BinaryIO,
    environment: Mapping[str, str],
    inherited: Sequence[int] = (),
    *,
    tell: int = -1,
) -> subprocess.Popen[bytes]:
    """Start ``command``, its output to ``log``, in a session of its own; it ends with the calling thread.

    ``inherited``: descriptors of this program that it has as well. ``tell``: one on which it says ``y`` or
    ``n``, whether it lets itself be stopped at its start; -1 if it is not to be.
    """
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _GUARD, str(os.getpid()), str(tell), *command],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=[*inherited, *([tell] if tell >= 0 else [])],
    )


def start_hidden(
    command: Sequence[str],
    secret: Sequence[int],
    log: BinaryIO,
    environment: Mapping[str, str],
    inherited: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """As :func:`start`; the arguments at the positions ``secret`` are not in the process list at any moment.

    Raises :class:`CannotHide`, and nothing runs.
    """
    shown = [_HIDDEN if k in secret else argument for k, argument in enumerate(command)]
    kept = {f"{_VARIABLE}{k}": command[k] for k in secret}
    reading, tell = os.pipe()
    with open(reading, "rb", buffering=0) as answer:
        try:
            process = start(shown, log, {**environment, **kept}, inherited, tell=tell)
        finally:
            os.close(tell)
        told = answer.read(1)
    if told == b"n":
        process.kill()
    if told != b"y":  # or it ended before it could say
        process.wait()
        raise CannotHide
    _, status = os.waitpid(process.pid, 0)
    if not os.WIFSTOPPED(status):
        process.returncode = os.waitstatus_to_exitcode(status)
        return process
    try:
        _point_to_environment(process.pid, secret, len(command))
        if _ptrace(_DETACH, process.pid) != 0:
            raise CannotHide
    except (OSError, ValueError, struct.error, CannotHide):
        process.kill()
        process.wait()
        raise CannotHide from None
    return process


def is_shown(pid: int, arguments: Sequence[str]) -> bool:
    """Whether the process's command line shows any of the arguments after all: a script may have passed them
    on to another program."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            shown = stream.read().split(b"\0")
    except OSError:
        return False
    return any(os.fsencode(argument) in shown for argument in arguments)


def _point_to_environment(pid: int, positions: Sequence[int], given: int) -> None:
    """In a program that has not run yet: let the arguments at these positions be their variables' values.

    The stack begins with the number of arguments, then the pointers to them, each as wide as one. Of a script
    there are more than were ``given``: its interpreter comes first.
    """
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stream:
        fields = stream.read().rpartition(")")[2].split()
    stack, begin, end = (int(fields[k - 3]) for k in (_START_STACK, _ENV_START, _ENV_END))
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        memory.seek(begin)
        variables = b"\0" + memory.read(end - begin)
        memory.seek(stack)
        before = struct.unpack("P", memory.read(struct.calcsize("P")))[0] - given
        for position in positions:
            name = f"\0{_VARIABLE}{position}=".encode()
            value = begin + variables.index(name) + len(name) - 1
            memory.seek(stack + (1 + before + position) * struct.calcsize("P"))
            memory.write(struct.pack("P", value))


def _ptrace(request: int, pid: int) -> int:
    call = ctypes.CDLL(None, use_errno=True).ptrace
    call.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    call.restype = ctypes.c_long
    return int(call(request, pid, None, None))
