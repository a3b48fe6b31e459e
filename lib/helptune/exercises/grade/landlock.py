"""Which files a process may still open, for where no sandbox hides them: Landlock, a rule a process lays on itself.

Numbers are those of Linux's `linux/landlock.h`; system calls have the same ones on all machines.
"""

import ctypes
import os
import stat
import struct
from collections.abc import Iterable

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_TRUNCATE, _IOCTL = 1 << 14, 1 << 15
_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL
_KNOWN = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
"""version -> all rights over files that it handles; later ones handle no more of them."""
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_NO_NEW_PRIVS = 38


def restrict(readable: Iterable[str], writable: Iterable[str]) -> bool:
    """From now on this thread, and those it starts, opens nothing else. False where the kernel has no Landlock."""
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE, None, 0, 1)
    if version < 1:
        return False
    handled = _KNOWN[min(version, 5)]
    attributes = struct.pack("=Q", handled)
    rules = libc.syscall(_CREATE, attributes, len(attributes), 0)
    if rules < 0:
        return False
    for paths, rights in ((readable, _READ), (writable, handled & ~_EXECUTE)):
        for path in paths:
            _allow(libc, rules, path, rights & handled)
    libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    failed = libc.syscall(_RESTRICT, rules, 0)
    os.close(rules)
    return not failed


def _allow(libc: ctypes.CDLL, rules: int, path: str, rights: int) -> None:
    try:
        handle = os.open(path, os.O_PATH)
    except OSError:  # not on this machine
        return
    if not stat.S_ISDIR(os.fstat(handle).st_mode):
        rights &= _FILE
    libc.syscall(_ADD, rules, 1, struct.pack("=Qi", rights, handle), 0)
    os.close(handle)
