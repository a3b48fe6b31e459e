"""What the report says about gradients: pictures, a sentence for each that its figures bear out, and a table.

Runs of before there were such figures have none, and then the report has no such section.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from helptune import plots
from helptune.experiment.evidence import Evidence
from helptune.train.noise import NoiseScale, noise_scale

_KINDS = {
    "norms": "Heat map of the gradient norm in every layer at every site.",
    "updates": "Size of one step and of all steps so far relative to the frozen matrices, over the optimizer steps.",
    "ranks": "Effective rank of the update in every layer, a line for each site, below the rank it could have.",
    "noise": "Noise scale in rows: single measurements, all together, and the batch of the run.",
    "cosines": "Heat map of the cosine between the gradients of every two categories.",
}


@dataclass(frozen=True)
class Gradients:
    """`pictures` maps a name to (picture, what kind it is), `words` to what it shows; the table has a row a site."""

    pictures: dict[str, tuple[Axes, str]]
    words: dict[str, str]
    step: int
    columns: list[str]
    table: list[tuple[str, list[str]]]


def gradient_section(evidence: Evidence) -> Gradients | None:
    """None when the run has logged no analysis."""
    analyses = {r["step"]: r["gradients"] for r in evidence.records if "gradients" in r}
    if not analyses:
        return None
    best = evidence.summary["training"]["best_step"]
    step = best if best in analyses else max(analyses)
    found, rank = analyses[step], evidence.config.get("lora", {}).get("rank")
    pictures = {"norms": (plots.gradient_norms(plots.blank(height=2.8), found["norm"]), _norms(found["norm"], step))}
    if any(_typical(a, "moved") or _typical(a, "step_ratio") for a in analyses.values()):
        pictures["updates"] = (plots.update_ratios(plots.blank(), evidence.records), _updates(analyses))
    if rank and _typical(found, "effective_rank"):
        words = _ranks(found["effective_rank"], rank, step)
        pictures["ranks"] = (plots.effective_ranks(plots.blank(), found["effective_rank"], rank), words)
    measured = [a["noise"] for a in analyses.values() if a["noise"]]
    if noise := noise_scale(measured):
        batch, tokens = evidence.config["train"]["batch_rows"], noise.tokens / noise.rows
        level = (noise.rows, noise.low, noise.high, batch)
        pictures["noise"] = (plots.noise_scales(plots.blank(), evidence.records, *level), _noise(noise, batch, tokens))
    if tasks := evidence.summary.get("task_gradients"):
        axes = plots.cosine_matrix(plots.blank(height=4.2), tasks["tasks"], tasks["cosines"])
        pictures["cosines"] = (axes, _cosines(tasks, noise))
    drawn = {name: (axes, _KINDS[name]) for name, (axes, _) in pictures.items()}
    return Gradients(drawn, {name: words for name, (_, words) in pictures.items()}, step, *_table(found))


def _norms(norms: Mapping[str, list[float | None]], step: int) -> str:
    squares = np.square(_grid(norms))
    total = float(np.nansum(squares))
    if not total:
        return f"At step {step} the gradient is zero."
    sites, layers = list(norms), squares.shape[1]
    row, layer = np.unravel_index(np.nanargmax(squares), squares.shape)
    shares = dict(zip(sites, np.nansum(squares, 1) / total, strict=True))
    strongest = sorted(shares, key=shares.__getitem__, reverse=True)[:2]
    return (
        f"At step {step}, {' and '.join(f'{site} holds {shares[site]:.0%}' for site in strongest)} of the squared "
        f"gradient norm. The single largest norm is that of {sites[row]} in layer {layer} of 0 to {layers - 1}, with "
        f"{squares[row, layer] / total:.1%} of it."
    )


def _updates(analyses: Mapping[int, Mapping[str, Any]]) -> str:
    last, typical = max(analyses), {step: _typical(a, "step_ratio") for step, a in analyses.items()}
    moved, largest = _typical(analyses[last], "moved"), max(typical, key=typical.__getitem__)
    return (
        f"All steps up to step {last} moved the typical matrix by {_share(moved)} of its norm. The largest of the "
        f"single steps looked at, the one after step {largest}, moves it by {_share(typical[largest])} (medians over "
        "layers and sites)."
    )


def _ranks(ranks: Mapping[str, list[float | None]], rank: int, step: int) -> str:
    grid = _grid(ranks)
    row, layer = np.unravel_index(np.nanargmin(grid), grid.shape)
    return (
        f"At step {step} the update of the typical matrix has an effective rank of {np.nanmedian(grid):.1f} of {rank}; "
        f"the lowest is {grid[row, layer]:.1f}, {list(ranks)[row]} in layer {layer}."
    )


def _noise(noise: NoiseScale, batch_rows: int, tokens_a_row: float) -> str:
    upper = f"to {noise.high:.2g}" if noise.high is not None else "with no upper limit that these figures could give"
    if noise.low > batch_rows:
        says = "fewer, so its gradients are mostly noise, and a larger batch needs fewer steps"
    elif noise.high is not None and noise.high < batch_rows:
        says = "more, so a smaller one would learn nearly as much in a step"
    else:
        says = "not clearly different"
    return (
        f"Signal and noise are equal in a batch of about {noise.rows:.2g} rows of {tokens_a_row:.0f} supervised tokens "
        f"(90% interval {noise.low:.2g} {upper}, from {noise.measurements} measurements). The run had {batch_rows} "
        f"rows: {says}."
    )


def _cosines(tasks: Mapping[str, Any], noise: NoiseScale | None) -> str:
    names, grid = tasks["tasks"], np.array(tasks["cosines"], float)
    places = combinations(range(len(names)), 2)
    pairs = [(grid[i, j], names[i], names[j]) for i, j in places if np.isfinite(grid[i, j])]
    if not pairs:
        return "No two categories have a gradient to compare."
    low, high, middle = min(pairs), max(pairs), np.median([value for value, _, _ in pairs])
    against = sum(value < 0 for value, _, _ in pairs)
    words = (
        f"{against or 'None'} of {len(pairs)} pairs of categories {'has' if against == 1 else 'have'} a cosine below "
        f"zero; the median is {middle:.2f}, the lowest {low[0]:.2f} ({low[1]}, {low[2]}), the highest {high[0]:.2f} "
        f"({high[1]}, {high[2]})."
    )
    if noise is not None:
        tokens = float(np.mean(tasks["tokens"]))
        words += (
            f" Each gradient is that of {tokens:.0f} supervised tokens in the mean; by the noise scale of the whole "
            "run, two random samples of that size from all the data would have a cosine of about "
            f"{1 / (1 + noise.tokens / tokens):.2f}."
        )
    return words


def _table(found: Mapping[str, Any]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Medians over the layers, and each site's share of the squared norm."""
    squares = {site: float(np.nansum(np.square(np.array(v, float)))) for site, v in found["norm"].items()}
    total = sum(squares.values()) or 1.0
    columns = {"share of squared norm": {site: f"{value / total:.1%}" for site, value in squares.items()}}
    for name, title, text in (
        ("step_ratio", "next step / norm", "{:.2e}"),
        ("moved", "moved / norm", "{:.2e}"),
        ("parameter_ratio", "step of A or down", "{:.2e}"),
        ("effective_rank", "effective rank", "{:.1f}"),
        ("stable_rank", "stable rank", "{:.1f}"),
    ):
        if name in found:
            columns[title] = {site: text.format(np.nanmedian(np.array(v, float))) for site, v in found[name].items()}
    return list(columns), [(site, [column[site] for column in columns.values()]) for site in squares]


def _typical(found: Mapping[str, Any], name: str) -> float:
    """Median over layers and sites; 0 for what was not measured."""
    return float(np.nan_to_num(np.nanmedian(_grid(found[name])))) if name in found else 0.0


def _grid(by_site: Mapping[str, list[float | None]]) -> np.ndarray:
    return np.array(list(by_site.values()), float)


def _share(value: float) -> str:
    return f"{value:.1%}" if value >= 0.01 else f"{value:.2%}" if value >= 1e-4 else f"{value:.1e}"
