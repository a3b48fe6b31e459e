"""Which devices take which batch, sequence length and base of Gemma 7B: a dated table, made by one command.

Every row says what its figure rests on. Where the compiler for the topology is installed it is XLA's own for the
compiled step; elsewhere the closed form. Rows are kept as JSON lines beside the table, so that an interrupted command
goes on where it was; delete a line, or the file, to make it anew.
"""

import importlib.metadata
import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from helptune.errors import DataError
from helptune.experiment.advice import USABLE, as_options
from helptune.experiment.plan import plan
from helptune.experiment.presets import named_preset
from helptune.experiment.rehearse import rehearse
from helptune.files import write_text
from helptune.gemma.config import named
from helptune.train.topology import parse_topology

PRESET = "gemma-7b-it"
BEGIN, END = "<!-- capacity: begin -->", "<!-- capacity: end -->"


@dataclass(frozen=True)
class Case:
    """Rows of `seq` tokens computed at once on all devices; more are a matter of time, by accumulation."""

    topology: str
    mesh: tuple[int, int, int]
    precision: str
    batch: int
    seq: int


ONE, FSDP_8 = (1, 1, 1), (1, 8, 1)
CASES = (
    Case("l4:1", ONE, "int4", 1, 1024),
    Case("l4:1", ONE, "int8", 2, 1024),
    Case("l4:1", ONE, "bfloat16", 1, 1024),
    Case("l4:1", ONE, "bfloat16", 8, 2048),
    Case("l4:8", FSDP_8, "bfloat16", 16, 2048),
    Case("a100-40:1", ONE, "int8", 8, 2048),
    Case("a100-40:1", ONE, "bfloat16", 4, 2048),
    Case("a100-80:1", ONE, "bfloat16", 16, 2048),
    Case("h100:1", ONE, "bfloat16", 1, 1024),
    Case("h100:1", ONE, "bfloat16", 16, 2048),
    Case("h100:1", ONE, "bfloat16", 4, 8192),
    Case("h100:1", ONE, "int8", 16, 2048),
    Case("h100:8", FSDP_8, "bfloat16", 64, 2048),
    Case("h100:8", (2, 4, 1), "bfloat16", 64, 2048),
    Case("h100:8", (1, 2, 4), "bfloat16", 8, 8192),
    Case("h100:16", (2, 8, 1), "bfloat16", 64, 4096),
    Case("h200:1", ONE, "bfloat16", 32, 2048),
    Case("b200:1", ONE, "bfloat16", 32, 2048),
    Case("v5e:2x4", FSDP_8, "bfloat16", 16, 2048),
    Case("v5e:2x4", FSDP_8, "bfloat16", 8, 4096),
    Case("v5p:2x2x1", (1, 4, 1), "bfloat16", 32, 4096),
    Case("v6e:1x1", ONE, "int8", 2, 2048),
    Case("v6e:2x4", FSDP_8, "bfloat16", 32, 2048),
)


def capacity(page: Path, store: Path, cases: tuple[Case, ...] = CASES) -> list[dict[str, Any]]:
    """Make the missing rows, keep each in `store` once it is known, and put the table between the markers of `page`.

    Raises DataError for a page without markers, before anything is computed.
    """
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    if not (0 <= text.find(BEGIN) < text.find(END)):
        raise DataError(f"{page}: the table goes between the lines {BEGIN} and {END}; put them where it shall stand")
    rows = [json.loads(line) for line in store.read_text().splitlines()] if store.exists() else []
    known = {_key(row) for row in rows}
    for case in cases:
        if json.dumps(asdict(case)) not in known:
            rows.append(measure(case))
            write_text(store, "".join(json.dumps(row) + "\n" for row in rows))
    if not any("runs" in row for row in rows):
        rows.append(executed())
        write_text(store, "".join(json.dumps(row) + "\n" for row in rows))
    before, after = text[: text.index(BEGIN)], text[text.index(END) :]
    write_text(page, f"{before}{BEGIN}\n{table(rows, cases)}\n{after}")
    return rows


def measure(case: Case) -> dict[str, Any]:
    """One row: the plan of the preset's step for this case, compiled where that is possible."""
    preset, topology = named_preset(PRESET), parse_topology(case.topology)
    train = replace(preset.train, batch_rows=case.batch, accumulate=1, seq_len=case.seq)
    run = replace(preset, precision=case.precision, mesh=case.mesh, train=train)
    found = plan(named(PRESET), run, topology, compiled=not topology.extra)
    kept = ("device_memory", "computed", "compiled", "verdict", "settings", "advice")
    return {"case": asdict(case), **_today(), **{name: found[name] for name in kept}}


def executed() -> dict[str, Any]:
    """Real steps at full width with random int8 weights, at depths that any machine can hold."""
    return {"case": None, **_today(), **rehearse(named(PRESET), named_preset(PRESET).lora, "int8", (1, 3))}


def table(rows: list[dict[str, Any]], cases: tuple[Case, ...] = CASES) -> str:
    """The rows of `cases` as markdown, with what was executed below."""
    by_case = {_key(row): row for row in rows}
    shown = [by_case[json.dumps(asdict(case))] for case in cases]
    lora, remat, config = named_preset(PRESET).lora, named_preset(PRESET).train.remat, named(PRESET)
    lines = [
        f"One training step of {config.name} with remat {remat}, LoRA rank {lora.rank} on {len(lora.sites)} sites and "
        f"dropout {lora.dropout}, jax {', '.join(sorted({row['jax'] for row in rows}))}. GiB on one device; a "
        f"step fits when it needs at most {USABLE:.0%} of it. No row has run on such a device.",
        "",
        "| devices | mesh (data, fsdp, tensor) | base | rows x tokens at once | computed | compiled | device | verdict "
        "| what was done | date |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_line(row) for row in shown]
    for row in (row for row in rows if "runs" in row):
        depths = "; ".join(
            f"{run['layers']} layer(s): {run['step_seconds']} s a step, {run['peak_gib']} GiB" for run in row["runs"]
        )
        full = row["full_depth"]
        lines += [
            "",
            f"Executed with random weights on a CPU ({row['date']}): full width, {row['base']} base, {row['rows']} x "
            f"{row['seq']} tokens. {depths}. All {full['layers']} layers, extrapolated: {full['step_seconds']} s a "
            f"step, {full['peak_gib']} GiB.",
        ]
    return "\n".join(lines)


def _line(row: dict[str, Any]) -> str:
    case, compiled = row["case"], row["compiled"]
    peak = "" if compiled is None else f"{compiled['peak'] / 2**30:.1f}"
    verdict = row["verdict"] + (f" `{as_options(row['settings'])}`" if row["settings"] else "")
    return "| " + " | ".join((
        case["topology"], ",".join(map(str, case["mesh"])), case["precision"], f"{case['batch']} x {case['seq']:,}",
        f"{row['computed']['total'] / 2**30:.1f}", peak, f"{row['device_memory'] / 2**30:.1f}", verdict,
        compiled["label"] if compiled else "computed, not compiled", row["date"],
    )) + " |"  # fmt: skip


def _key(row: dict[str, Any]) -> str:
    return json.dumps(row["case"])


def _today() -> dict[str, str]:
    return {"date": datetime.now(UTC).date().isoformat(), "jax": importlib.metadata.version("jax")}
