"""The learner's process: runs the cells it is sent, calls the functions they define, and answers with values.

    python -m helptune.exercises.grade.worker REQUESTS REPLIES SETTINGS

Requests: {"run": source, "name": cell} and {"call": function, "args": [...], "kwargs": {...}}. Replies: {"value": ...},
{"raised": {...}}, {"missing": function} and {"unsendable": what}. Before the first request it gives up all it can:
limits, files, system calls. Nothing here is trusted once a learner's code has run: they share the process.
"""

import builtins
import json
import linecache
import resource
import sys
from typing import IO, Any

from helptune.exercises.grade import landlock, seccomp, wire

_LONG = 600


def main() -> None:
    with open(int(sys.argv[1]), "rb") as requests, open(int(sys.argv[2]), "wb") as replies:
        _serve(requests, replies)


def _serve(requests: IO[bytes], replies: IO[bytes]) -> None:
    given = _give_up(json.loads(sys.argv[3]))
    builtins.input = _input
    namespace: dict[str, Any] = {"__name__": "__main__"}
    _send(replies, {"value": given})
    while head := requests.read(wire.HEAD.size):
        text, arrays = wire.sizes(head)
        request = wire.unpack(requests.read(text), requests.read(arrays))
        try:
            reply = _run(request, namespace) if "run" in request else _call(request, namespace)
        except BaseException as error:
            reply = {"raised": _told(error)}
        _send(replies, reply)


def _give_up(settings: dict[str, Any]) -> list[str]:
    """Which protections hold: limits, then files, then system calls."""
    given = []
    for name, most in settings["limits"].items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
    if settings["readable"] and landlock.restrict(settings["readable"], settings["writable"]):
        given.append("files")
    if seccomp.supported():
        seccomp.install()
        given.append("calls")
    return given


def _input(*_: Any) -> str:
    raise EOFError("nobody is there to type: a graded answer takes what it needs as arguments")


def _run(request: dict[str, Any], namespace: dict[str, Any]) -> dict[str, Any]:
    source, name = request["run"], f"<cell {request['name']}>"
    if any(line.lstrip().startswith(("%", "!", "?")) or line.endswith("?") for line in source.splitlines()):
        source = _without_magics(source, namespace)
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)  # for inspect, and tracebacks
    exec(compile(source, name, "exec"), namespace)
    return {"value": None}


def _without_magics(source: str, namespace: dict[str, Any]) -> str:
    """Python, as IPython makes it of a cell; what it calls is there, too."""
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance(user_ns=namespace)
    namespace.setdefault("get_ipython", lambda: shell)
    return shell.transform_cell(source)


def _call(request: dict[str, Any], namespace: dict[str, Any]) -> dict[str, Any]:
    name = request["call"]
    if not callable(namespace.get(name)):
        return {"missing": name}
    return {"value": namespace[name](*request["args"], **request["kwargs"])}


def _told(error: BaseException) -> dict[str, Any]:
    """An exception as data: its kind, text, and the line of the cell that it came from."""
    try:
        text = error.msg if isinstance(error, SyntaxError) else str(error)
    except Exception:
        text = "(its text cannot be read)"
    trace, line = error.__traceback__, None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.startswith("<cell "):
            line = trace.tb_lineno
        trace = trace.tb_next
    if isinstance(error, SyntaxError):
        line = error.lineno
    return {"kind": type(error).__name__[:80], "text": text[:_LONG], "line": line}


def _send(replies: IO[bytes], reply: dict[str, Any]) -> None:
    try:
        message = wire.pack(reply)
    except wire.Unsendable as error:
        message = wire.pack({"unsendable": str(error)})
    except Exception as error:  # whatever the value did on being looked at
        message = wire.pack({"raised": _told(error)})
    replies.write(message)
    replies.flush()


if __name__ == "__main__":
    main()
