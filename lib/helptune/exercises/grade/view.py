"""What a learner's process sees of the machine: the system, Python, weights, and of this library what it needs."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import helptune
from helptune.files import cache_dir

PACKAGE = Path(helptune.__file__).resolve().parent
_WORKER = ["__init__.py", "exercises/__init__.py"] + [
    f"exercises/grade/{name}.py" for name in ("__init__", "worker", "wire", "seccomp", "landlock")
]
_HIDDEN = "exercises"
"""The part of the library that knows what is right. The worker's own files are put back into it."""
_SYSTEM = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"]
_SETTINGS = ["/etc/ld.so.cache", "/etc/localtime", "/etc/fonts", "/etc/alternatives"]
_DEVICES = ["/dev/null", "/dev/zero", "/dev/urandom", "/dev/random", "/proc/self", "/proc/cpuinfo", "/proc/meminfo",
            "/proc/stat", "/sys/devices/system"]  # fmt: skip


@dataclass(frozen=True)
class View:
    """`library`: whether the notebook's own cells import helptune. `private`: folders that are hidden in any case."""

    library: bool = False
    private: tuple[Path, ...] = ()

    def readable(self) -> list[str]:
        """All paths that may be read, for Landlock: it allows, and cannot hide what lies within."""
        own = [str(PACKAGE / name) for name in _WORKER]
        if self.library:
            own += [str(path) for path in PACKAGE.iterdir() if path.name != _HIDDEN]
        return [*_SYSTEM, *_SETTINGS, *_DEVICES, *map(str, _python()), *own, str(cache_dir())]


def _python() -> list[Path]:
    """Where this Python and its packages live."""
    homes = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parents[1]}
    return sorted(home for home in homes if not str(home).startswith(("/usr", "/bin")) or home == Path("/usr/local"))


def arguments(view: View, disk: int) -> list[str]:
    """The options of bwrap. Later mounts lie over earlier ones; and the worker is alone in there, with no process of
    bwrap beside it whose memory it could write to.
    """
    told = ["--unshare-all", "--as-pid-1", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--proc", "/proc"]
    told += ["--dev", "/dev", "--remount-ro", "/dev", "--size", str(disk), "--tmpfs", "/tmp"]
    seen: list[Path] = []
    for name in _SYSTEM:
        if os.path.islink(name):
            told += ["--symlink", os.readlink(name), name]
        elif os.path.isdir(name):
            told += _bound(Path(name))
            seen.append(Path(name))
    for name in _SETTINGS:
        told += ["--ro-bind-try", name, name]
    for path in [*_python(), *([cache_dir()] if cache_dir().is_dir() else [])]:
        told += _bound(path)
        seen.append(path.resolve())
    for fonts in _fonts():
        told += ["--ro-bind", str(fonts), f"/tmp/.matplotlib/{fonts.name}"]
    told += _library(view.library)
    for path in view.private:
        if any(path.resolve().is_relative_to(shown) for shown in seen):
            told += ["--tmpfs", str(path.resolve()), "--remount-ro", str(path.resolve())]
    return [*told, "--remount-ro", "/", "--chdir", "/tmp"]


def _library(all_of_it: bool) -> list[str]:
    told = _bound(PACKAGE) if all_of_it else ["--tmpfs", str(PACKAGE)]
    hidden = PACKAGE / _HIDDEN
    told += ["--tmpfs", str(hidden)] if all_of_it else []
    for name in _WORKER:
        if not all_of_it or name.startswith(_HIDDEN):
            told += _bound(PACKAGE / name)
    return [*told, "--remount-ro", str(hidden if all_of_it else PACKAGE)]


def _bound(path: Path) -> list[str]:
    return ["--ro-bind", str(path.resolve()), str(path)]


def _fonts() -> list[Path]:
    """matplotlib's list of fonts, which takes seconds to make anew."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return sorted((root / "matplotlib").glob("fontlist-*.json"))


def environment(home: str) -> dict[str, str]:
    """All of it: nothing of the grader's own passes."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": home,
        "TMPDIR": home,
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(PACKAGE.parent),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": f"{home}/.matplotlib",
        "HELPTUNE_CACHE": str(cache_dir()),
        "HELPTUNE_PROGRESS": f"{home}/progress.json",
        "HF_HUB_OFFLINE": "1",
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
