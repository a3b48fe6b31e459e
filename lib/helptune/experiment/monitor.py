"""A run in a notebook: start it as a process of its own, see it train, stop it, go on.

    from helptune.experiment.monitor import monitor, start

    start(["--max-steps", "60"], "runs/first")   # trains, and shows it
    monitor("runs/first")                        # shows a run that any process trains

The kernel stays free, and the run outlives it: the two share nothing but the run's directory.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.display import display
from ipywidgets import HTML, Button, HBox, Layout, VBox
from markupsafe import escape

from helptune.errors import RunError
from helptune.experiment import board
from helptune.experiment.watch import LOG, Snapshot, log_tail, read_run, status
from helptune.files import write_text
from helptune.lock import is_worked_on
from helptune.text import printable
from helptune.train.stop import request_stop, stop_requested

if TYPE_CHECKING:
    from helptune.experiment.config import RunConfig

_SETTINGS = ".settings.json"
_STOPPED = (130, -2, -15)
"""Exit codes of a process that was asked to end: by Ctrl-C or a request, by SIGINT, by SIGTERM."""

_AGAIN = "run start(...) again to go on"
_WIDE = Layout(width="100%")
_processes: dict[Path, subprocess.Popen] = {}
"""Those started here. Two threads look, and either may find first that a process is no longer the one of its run."""

_shown: dict[Path, "Monitor"] = {}


def start(config: "RunConfig | Sequence[str]", run: str | Path) -> "Monitor":
    """Train in a process of its own, as `helptune finetune` does, and show it.

    `config` is a configuration, or the options of that command, such as ["--max-steps", "60"]. What the process says
    goes to `log.txt` in the run's directory. A run that was stopped goes on; one that is being trained is only shown.
    """
    run = Path(run).resolve()
    if not _is_alive(run):
        run.mkdir(parents=True, exist_ok=True)
        if isinstance(config, Sequence):
            options = [str(word) for word in config]
        else:
            from helptune.experiment.config import to_json

            write_text(run / _SETTINGS, to_json(config))
            options = ["--config", str(run / _SETTINGS)]
        command = [sys.executable, "-P", "-m", "helptune", "finetune", *options, "--run", str(run)]
        with (run / LOG).open("w") as log:
            # In a session of its own: interrupting the kernel, or closing it, does not reach the run.
            _processes[run] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
    return monitor(run)


def monitor(run: str | Path) -> "Monitor":
    """A live view of a run, whoever trains it. One is live for each run: the newest."""
    run = Path(run).resolve()
    if run in _shown:
        _shown[run].end()
    _shown[run] = Monitor(run)
    return _shown[run]


class Monitor(VBox):
    """Losses, a step's figures and sample answers of a run, once a second while they change, and a button to stop it.

    Where the widget does not live, a still picture and a text of the moment it was shown stand in its place.
    """

    def __init__(self, run: Path):
        self.run = run
        self._seen: tuple[Snapshot, bool] | None = None
        self._asked = False
        self._over = threading.Event()
        self._head, self._figures, self._pictures, self._samples = (HTML(layout=_WIDE) for _ in range(4))
        self._button = Button(icon="stop", layout=Layout(width="auto", flex="0 0 auto"))
        self._button.on_click(self._stop)
        top = HBox([self._head, self._button], layout=Layout(width="100%", align_items="center"))
        super().__init__([top, self._figures, self._pictures, self._samples], layout=Layout(overflow="hidden"))
        self.look()
        self._thread = threading.Thread(target=self._follow, name=f"watching {run}", daemon=True)
        self._thread.start()

    def look(self) -> Snapshot:
        """Read the run and show what is new."""
        seen, tail = _read(self.run)
        alive = _is_alive(self.run)
        self._asked = alive and (self._asked or stop_requested(self.run))
        if (seen, self._asked) != self._seen:
            before, self._seen = self._seen and self._seen[0], (seen, self._asked)
            self._head.value = board.head(seen, self._sentence(seen))
            self._figures.value = board.figures(seen, tail)
            if before is None or (before.steps, before.measurements) != (seen.steps, seen.measurements):
                self._pictures.value = board.pictures(seen)
            self._samples.value = board.samples(seen)
        self._button.disabled = self._asked or not alive
        self._button.description = "Stopping" if self._asked else "Stop" if alive else "Not running"
        self._button.tooltip = "Stop after this step, with a checkpoint to go on from" if alive else _AGAIN
        return seen

    def wait(self, seconds: float | None = None) -> Snapshot:
        """Until no process works on the run, or so long. Raises RunError with the end of the log when it failed."""
        until = None if seconds is None else time.monotonic() + seconds
        while _is_alive(self.run) and (until is None or time.monotonic() < until):
            time.sleep(0.2)
        seen = self.look()
        if seen.state == "failed":
            raise RunError(f"{self.run} failed: {status(seen, _AGAIN)}\n{log_tail(self.run)}")
        return seen

    def end(self) -> None:
        """No longer look. The run goes on, and the last picture stays."""
        self._over.set()

    def _follow(self) -> None:
        pause = 1.0
        while not self._over.wait(pause):
            started = time.thread_time()
            try:
                self.look()
            except Exception as error:  # it would end this thread, and the view would stand still
                self._seen = None
                self._head.value = f"<pre>cannot be shown now: {escape(printable(repr(error)))}</pre>"
            pause = max(1.0, 10 * (time.thread_time() - started))  # a tenth of a core at most: the run needs them

    def _stop(self, _button: Any) -> None:
        if is_worked_on(self.run):
            request_stop(self.run)
        elif process := _processes.get(self.run):
            process.terminate()  # it is loading: there is nothing to keep
        self._asked = True
        self.look()

    def _sentence(self, seen: Snapshot) -> str:
        if self._asked:
            return f"step {seen.step}: stopping after this step" if seen.state == "training" else "stopping"
        return status(seen, _AGAIN)

    def _ipython_display_(self, **kwargs: Any) -> None:
        """A still picture, and the widget that hides it for as long as it lives."""
        seen, tail = _read(self.run)
        text = f"{self.run.name}: {seen.state}: {status(seen, _AGAIN)}"
        display({"text/html": board.still(seen, tail), "text/plain": text}, raw=True)
        display(super()._repr_mimebundle_(**kwargs), raw=True)


def _read(run: Path) -> tuple[Snapshot, str]:
    """The run, and the end of its log if it failed. Of a process started here the exit code is known."""
    process = _processes.get(run)
    code = process.poll() if process else None  # asked first: who is alive after that is not the one that has ended
    alive = _is_alive(run)
    seen = read_run(run, alive)
    if code is not None and alive:
        _processes.pop(run, None)  # another process goes on with it
    elif code is not None:
        seen = replace(seen, state="finished" if code == 0 else "stopped" if code in _STOPPED else "failed")
    return seen, log_tail(run) if seen.state == "failed" else ""


def _is_alive(run: Path) -> bool:
    """Also a process that is still loading, and has not locked the run yet."""
    process = _processes.get(run)
    return (process is not None and process.poll() is None) or is_worked_on(run)
