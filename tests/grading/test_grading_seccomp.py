"""The process's own rules hold without any sandbox around it: these run in a plain child process."""

import struct
import subprocess
import sys
import textwrap

import pytest

from helptune.exercises.grade import seccomp

REFUSED = {
    "fork": "os.fork()",
    "spawn": "os.posix_spawn('/bin/true', ['true'], {})",
    "exec": "os.execv('/bin/true', ['true'])",
    "socket": "socket.socket()",
    "unix socket": "socket.socket(socket.AF_UNIX)",
    "kill the parent": "os.kill(os.getppid(), 9)",
    "kill all": "os.kill(-1, 9)",
    "kill the group": "os.kill(0, 9)",
    "own limits": "call(160 if x86 else 164, resource.RLIMIT_CORE, ctypes.create_string_buffer(16))",
    "limits of the parent": "resource.prlimit(os.getppid(), resource.RLIMIT_CPU)",
    "new limits by prlimit": "resource.prlimit(0, resource.RLIMIT_CORE, (0, 0))",
    "ptrace": "call(101 if x86 else 117, 16, os.getppid(), 0, 0)",
    "read the parent": "call(310 if x86 else 270, os.getppid(), 0, 0, 0, 0, 0)",
    "unshare": "os.unshare(os.CLONE_NEWUSER)",
    "mount": "call(165 if x86 else 40, 0, 0, 0, 0, 0)",
    "bpf": "call(321 if x86 else 280, 0, 0, 0)",
    "pidfd": "os.pidfd_open(os.getppid())",
    "processor of the parent": "os.sched_setaffinity(os.getppid(), {0})",
    "priority of the parent": "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
    "outlive the parent": "call(157 if x86 else 167, 1, 0, 0, 0, 0)",
    "memory nobody counts": "call(29 if x86 else 194, 0, 4096, 0o1600)",
    "io_uring": "call(425, 1, 0)",
    "clone3": "call(435, 0, 0)",
    "memfd": "os.memfd_create('x')",
}
ALLOWED = {
    "threads": "thread = threading.Thread(target=int); thread.start(); thread.join()",
    "signals to itself": "os.kill(os.getpid(), 0); signal.signal(10, lambda *_: None); signal.raise_signal(10)",
    "its limits, asked": "resource.getrlimit(resource.RLIMIT_AS)",
    "socket pairs": "socket.socketpair()",
    "files": "open('/dev/null').read()",
}
BEFORE = """
import ctypes, os, platform, resource, signal, socket, threading
from helptune.exercises.grade import seccomp

x86 = platform.machine() == "x86_64"

def call(*arguments):
    if ctypes.CDLL(None, use_errno=True).syscall(*arguments) == -1:
        raise OSError(ctypes.get_errno(), "refused")

seccomp.install()
"""


def run(code):
    return subprocess.run([sys.executable, "-c", BEFORE + code], capture_output=True, text=True, timeout=60)


def tried(what):
    return f"""
try:
    {what}
except (OSError, ValueError) as error:
    print(error.errno if isinstance(error, OSError) else "refused")
else:
    print("done")
"""


def test_what_reaches_beyond_the_process_is_refused():
    found = run("\n".join(tried(what) for what in REFUSED.values()))
    assert found.returncode == 0, found.stderr
    answers = dict(zip(REFUSED, found.stdout.split(), strict=True))
    assert {name: answer for name, answer in answers.items() if answer not in ("1", "38", "refused")} == {}


def test_what_honest_code_needs_is_allowed():
    found = run("\n".join(ALLOWED.values()))
    assert found.returncode == 0, found.stderr


def test_threads_that_were_there_before_are_held_too():
    code = textwrap.dedent("""
        import os, threading
        from helptune.exercises.grade import seccomp
        go, told = threading.Event(), []
        def late():
            go.wait()
            try:
                os.fork()
            except OSError as error:
                told.append(error.errno)
        thread = threading.Thread(target=late)
        thread.start()
        seccomp.install()
        go.set()
        thread.join()
        print(told)
    """)
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert found.stdout.strip() == "[1]", found.stderr


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_is_a_program_the_kernel_takes(machine):
    """Jumps end within it, and it is no longer than the kernel allows (BPF_MAXINSNS)."""
    lines = seccomp.program(machine, 1234)
    assert len(lines) < 4096
    for place, (code, yes, no, k) in enumerate(lines):
        struct.pack("=HBBI", code, yes, no, k)
        if code & 7 == 5:
            assert place + 1 + max(yes, no) < len(lines)


ARGUMENTS = {
    "x86_64": {"clone": 56, "kill": 62, "prlimit": 302, "read": 0, "socket": 41},
    "aarch64": {"clone": 220, "kill": 129, "prlimit": 261, "read": 63, "socket": 198},
}


def judged(machine, number, *arguments, arch=None):
    """What the filter answers, by a small machine for it: classic BPF, as far as it is used."""
    data = struct.pack(
        "=IIQ6Q", number, arch or seccomp._MACHINES[machine][1], 0, *arguments, *[0] * (6 - len(arguments))
    )
    lines, place, held = seccomp.program(machine, 1234), 0, 0
    while True:
        code, yes, no, k = lines[place]
        if code == seccomp._RETURN:
            return {seccomp._ALLOW: "allowed", seccomp._ERRNO | 1: "refused", seccomp._ERRNO | 38: "unknown"}.get(
                k, "killed"
            )
        if code == seccomp._LOAD:
            held = struct.unpack_from("=I", data, k)[0]
            place += 1
        else:
            met = {seccomp._EQUAL: held == k, seccomp._AT_LEAST: held >= k, seccomp._BITS: bool(held & k)}[code]
            place += 1 + (yes if met else no)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_answers_alike_on_both_machines(machine):
    n = ARGUMENTS[machine]
    assert judged(machine, n["read"]) == "allowed"
    assert judged(machine, n["socket"]) == "refused"
    assert judged(machine, 435) == "unknown"
    assert judged(machine, n["clone"], 0x00010000 | 0x100) == "allowed"
    assert judged(machine, n["clone"], 17) == "refused"
    assert judged(machine, n["kill"], 1234, 9) == "allowed"
    assert judged(machine, n["kill"], 1, 9) == "refused"
    assert judged(machine, n["kill"], 2**64 - 1, 9) == "refused"
    assert judged(machine, n["prlimit"], 0, 7, 0) == "allowed"
    assert judged(machine, n["prlimit"], 1234, 7, 0) == "allowed"
    assert judged(machine, n["prlimit"], 99, 7, 0) == "refused"
    assert judged(machine, n["prlimit"], 0, 7, 2**40) == "refused"
    assert judged(machine, n["read"], arch=0x40000003) == "killed"


def test_calls_of_x32_are_refused():
    assert judged("x86_64", 0x40000000 + 57) == "refused"
