"""Write environment.yml from requirements.txt, so that conda and pip users get the same versions."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
HEADER = """\
# Written from requirements.txt by .ci/pins.py: conda brings Python, pip brings the same versions as everywhere.
name: helptune
channels:
  - conda-forge
dependencies:
  - python=3.12
  - pip
  - pip:
"""


def environment(requirements: str) -> str:
    pins = [line for line in requirements.splitlines() if line and not line.startswith("#")]
    return HEADER + "".join(f"      - {pin}\n" for pin in pins)


if __name__ == "__main__":
    (ROOT / "environment.yml").write_text(environment((ROOT / "requirements.txt").read_text()))
