"""A filter of system calls for a process that runs strangers' code: no new processes, no network, no hand on others.

It holds even where there is no sandbox around the process, and nothing takes it off again (seccomp(2), with
no_new_privs). Numbers of calls are those of Linux's `asm/unistd.h`: of x86_64, and of the generic table (aarch64).
"""

import ctypes
import os
import platform
import signal
import struct

_NUMBERS: dict[str, tuple[int | None, int | None]] = {
    # new processes, other programs
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    # network; a socketpair reaches nobody, and asyncio wants one
    "socket": (41, 198),
    # other processes
    "ptrace": (101, 117), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "tkill": (200, 130),
    "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "process_madvise": (440, 440), "kcmp": (312, 272),
    "perf_event_open": (298, 241), "migrate_pages": (256, 238), "move_pages": (279, 239),
    "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setscheduler": (144, 119), "sched_setparam": (142, 118),
    "sched_setattr": (314, 274), "setpgid": (109, 154), "setsid": (112, 157),
    # its own limits
    "setrlimit": (160, 164),
    # the system
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265), "bpf": (321, 280), "userfaultfd": (323, 282), "personality": (135, 92),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104), "kexec_file_load": (320, 294),
    "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225), "sethostname": (170, 161),
    "setdomainname": (171, 162), "acct": (163, 89), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "clock_adjtime": (305, 266), "adjtimex": (159, 171), "quotactl": (179, 60), "syslog": (103, 116),
    # memory that no limit counts
    "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
}  # fmt: skip
"""Refused with EPERM, whatever the arguments."""

_UNKNOWN: dict[str, tuple[int, int]] = {
    "clone3": (435, 435), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "memfd_create": (319, 279), "memfd_secret": (447, 447),
}  # fmt: skip
"""Answered as by a kernel that does not have them. clone3 hides its flags from a filter; glibc then uses clone."""

_CLONE, _KILL, _TGKILL, _PRLIMIT, _SETAFFINITY = (56, 220), (62, 129), (234, 131), (302, 261), (203, 122)
_PRCTL = (157, 167)
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""machine -> (column of the tables, AUDIT_ARCH)."""

_LOAD, _EQUAL, _AT_LEAST, _BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_EPERM, _ENOSYS = 1, 38
_NR, _ARCH, _ARGS = 0, 4, 16
_CLONE_THREAD = 0x00010000
_PARENT_DEATH, _NO_NEW_PRIVS, _SET_MODE_FILTER, _TSYNC = 1, 38, 1, 1


def supported() -> bool:
    return platform.system() == "Linux" and platform.machine() in _MACHINES


def program(machine: str, pid: int) -> list[tuple[int, int, int, int]]:
    """The filter as instructions of classic BPF: (code, jump if true, jump if false, k). `pid` may signal itself."""
    column, arch = _MACHINES[machine]
    deny, unknown = _ERRNO | _EPERM, _ERRNO | _ENOSYS
    lines = [(_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, arch), (_RETURN, 0, 0, _KILL_PROCESS), (_LOAD, 0, 0, _NR)]
    if machine == "x86_64":  # its x32 calls are the same ones under other numbers
        lines += [(_AT_LEAST, 0, 1, 0x40000000), (_RETURN, 0, 0, deny)]
    for numbers, answer in ((_NUMBERS, deny), (_UNKNOWN, unknown)):
        for pair in numbers.values():
            if (number := pair[column]) is not None:
                lines += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, answer)]
    lines += _only_if(_CLONE[column], [(_LOAD, 0, 0, _ARGS), (_BITS, 1, 0, _CLONE_THREAD), (_RETURN, 0, 0, deny)])
    for number in (_KILL[column], _TGKILL[column]):
        lines += _only_if(number, [(_LOAD, 0, 0, _ARGS), (_EQUAL, 1, 0, pid), (_RETURN, 0, 0, deny)])
    itself = [(_LOAD, 0, 0, _ARGS), (_EQUAL, 2, 0, 0), (_EQUAL, 1, 0, pid), (_RETURN, 0, 0, deny)]
    lines += _only_if(_SETAFFINITY[column], itself)
    stays = [(_LOAD, 0, 0, _ARGS), (_EQUAL, 0, 1, _PARENT_DEATH), (_RETURN, 0, 0, deny)]
    lines += _only_if(_PRCTL[column], stays)
    # prlimit64 may be asked, but given no new limits: both halves of its third argument, a pointer, are 0.
    asked = [(_LOAD, 0, 0, _ARGS + 16 + half) for half in (0, 4)]
    refused = [(_EQUAL, 1, 0, 0), (_RETURN, 0, 0, deny)]
    lines += _only_if(_PRLIMIT[column], [*itself, asked[0], *refused, asked[1], *refused])
    return [*lines, (_RETURN, 0, 0, _ALLOW)]


def _only_if(number: int, then: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """Whoever falls through `then` is allowed; so its jumps need not know what follows."""
    return [(_EQUAL, 0, len(then) + 1, number), *then, (_RETURN, 0, 0, _ALLOW)]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("lines", ctypes.c_void_p))


def install() -> None:
    """For all threads of this process, for good; it ends with its parent, too. Raises OSError where that is refused."""
    machine = platform.machine()
    lines = b"".join(struct.pack("=HBBI", *line) for line in program(machine, os.getpid()))
    buffer = ctypes.create_string_buffer(lines, len(lines))
    filter_ = _Program(len(lines) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PARENT_DEATH, signal.SIGKILL, 0, 0, 0) or libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs")
    call = {"x86_64": 317, "aarch64": 277}[machine]
    if libc.syscall(call, _SET_MODE_FILTER, _TSYNC, ctypes.byref(filter_)):
        raise OSError(ctypes.get_errno(), "seccomp")
