"""Run notebooks from their py:percent sources, and keep what they show: `.ci/notebooks.py [FILE.py ...]`, or all.

One way: source -> notebook -> outputs -> pictures of the exercises -> exercises. Never the other way round.
"""

import base64
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat

from helptune.exercises.release import PICTURES, build, solution_files

ROOT = Path(__file__).parent.parent
SECONDS = 900
"""The most that one cell may take."""


def sources() -> list[Path]:
    return [*sorted((ROOT / "course").glob("*.py")), *solution_files(ROOT / "solutions")]


def run(source: Path) -> None:
    """Pair, execute, strip what differs from run to run, and keep the pictures an exercise shows."""
    notebook = source.with_suffix(".ipynb")
    tool = [sys.executable, "-m"]
    execute = ["nbconvert", "--to", "notebook", "--execute", "--inplace", f"--ExecutePreprocessor.timeout={SECONDS}"]
    strip = ["--keep-output", "--keep-count", "--extra-keys", "metadata.widgets cell.metadata.execution"]
    with tempfile.TemporaryDirectory() as folder:
        fresh = os.environ | {"HELPTUNE_PROGRESS": f"{folder}/progress.json"}  # nobody has solved anything
        subprocess.run([*tool, "jupytext", "--quiet", "--to", "ipynb", "--update", source], check=True)
        subprocess.run([*tool, "jupyter", *execute, "--log-level=ERROR", notebook], check=True, env=fresh)
        subprocess.run([*tool, "nbstripout", *strip, notebook], check=True)
    keep_pictures(notebook)


def keep_pictures(notebook: Path) -> None:
    """expected/NAME.png for each cell with `picture="NAME"`: the last picture it shows."""
    for cell in nbformat.read(notebook, as_version=4).cells:
        if name := cell.metadata.get("picture"):
            shown = [output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
            folder = notebook.parent / PICTURES
            folder.mkdir(exist_ok=True)
            (folder / f"{name}.png").write_bytes(base64.b64decode(shown[-1]))


if __name__ == "__main__":
    for path in [Path(name).resolve() for name in sys.argv[1:]] or sources():
        started = time.monotonic()
        run(path)
        print(f"{path.relative_to(ROOT)}: {time.monotonic() - started:.0f} s", flush=True)
    build(ROOT / "solutions", ROOT / "exercises")
