"""Forward and gradient of four problems against torchdiffeq, torchode and SciPy.

    python -m benchmarks.solvers [--repeats 7] [--only NAME] [--kind forward] [--device cpu]
        [--json FILE] [--save]

Everyone runs the method of Dormand and Prince 5(4) with an integral controller of the same limits,
at the same tolerance, on float32 states, choosing the first step alone; SciPy keeps float64 states
around the same float32 field, and around a NumPy field where one is easily written. The calls of a
table take turns in one process. A ratio compares equals: torchdiffeq and SciPy average the error
over all entries, so ours does too; torchode steps each sample alone, so ours guards every sample.
Gradients through every step's graph are compared with our `direct`, those that keep no graph with
our `checkpointed`. A second ratio is that of the same solve of ours with compile=True; compiling,
tens of seconds once a field, is not part of the time.

torchode is optional: `pip install --no-deps torchode torchtyping`. What else it imports comes with
odevision; torchtyping asks for typeguard < 3, which tyro excludes, but works with a newer one.
"""

import argparse
import datetime
import json
import platform
import statistics
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor, nn

from benchmarks.measure import commit, interleaved_seconds, machine, median_ratio
from benchmarks.solver_contestants import COMPILED, Contestant, Counter, Solve, contestants
from benchmarks.solver_problems import PROBLEMS, Problem
from odevision import odesolve

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("odevision", "torchdiffeq", "torchode", "scipy", "numpy")
Answer = list[Tensor]


def forward(problem: Problem, solve: Solve) -> Answer:
    """[y1], without a graph."""
    with torch.no_grad():
        return [solve(problem.y0)]


def gradient(problem: Problem, solve: Solve) -> Answer:
    """[dL/dy0, dL/dtheta...] of the loss L = |y1|^2 / 2."""
    for module in (problem.field, problem.our_field):
        if isinstance(module, nn.Module):
            module.zero_grad()
    y0 = problem.y0.clone().requires_grad_()
    solve(y0).square().sum().div(2).backward()
    assert y0.grad is not None
    return [y0.grad, *problem.gradients()]


RUNS: dict[str, Callable[[Problem, Solve], Answer]] = {"forward": forward, "gradient": gradient}


def forward_reference(problem: Problem) -> Answer:
    """[y1] of a float64 problem by SciPy's DOP853."""

    def f(t: float, y: np.ndarray) -> np.ndarray:
        time = torch.tensor(t, dtype=torch.float64)
        return problem.field(time, torch.from_numpy(y).view(problem.y0.shape)).numpy().ravel()

    start, tolerance = problem.y0.numpy().ravel(), problem.reference_tolerance
    with torch.no_grad():
        solution = solve_ivp(
            f, (0.0, problem.t1), start, method="DOP853", rtol=tolerance, atol=tolerance
        )
    assert solution.success, solution.message
    return [torch.from_numpy(solution.y[:, -1]).view(problem.y0.shape)]


def gradient_reference(problem: Problem) -> Answer:
    """The gradients of a float64 problem at a hundredth of the tolerance, by the discrete adjoint.

    They are ours, but the peers must agree with them too.
    """
    tolerance = problem.tolerance / 100

    def solve(y0: Tensor) -> Tensor:
        return odesolve(
            problem.our_field, y0, 0.0, problem.t1, args=problem.our_args(y0), solver="dopri5",
            rtol=tolerance, atol=tolerance,
        ).y1  # fmt: skip

    return gradient(problem, solve)


def error(answer: Answer, reference: Answer, kind: str) -> float:
    """Largest error of an entry of y1, or largest relative error of a gradient in the 2-norm.

    An answer may hold the leading samples only.
    """
    errors = []
    for x, exact in zip(answer, reference, strict=True):
        x = x.detach().cpu().double()
        exact = exact[: len(x)]
        difference = x - exact
        relative = difference.norm() / exact.norm()
        errors.append(difference.abs().max() if kind == "forward" else relative)
    return torch.stack(errors).max().item()


def measure(name: str, kind: str, device: str, repeats: int) -> dict[str, Any]:
    """One table: a row a contestant, once all of them are known to agree.

    Raises:
        SystemExit: an answer is off.
    """
    problem = PROBLEMS[name](device, torch.float32)
    exact = PROBLEMS[name]("cpu", torch.float64)
    reference = forward_reference(exact) if kind == "forward" else gradient_reference(exact)
    limit = problem.agreement if kind == "forward" else problem.gradient_agreement
    run, found = RUNS[kind], contestants(problem, kind)
    calls, rows = {}, {}
    for contestant in found:
        solve = contestant.build(lambda f: f)
        off = error(run(problem, solve), reference, kind)
        if not off <= limit:
            raise SystemExit(f"{name}, {kind}: {contestant.name} is {off:.1e} off, not {limit:.0e}")
        rows[contestant.name] = {"contestant": contestant.name, "error": off}
        calls[contestant.name] = _waited_for(lambda solve=solve: run(problem, solve), device)
    seconds = interleaved_seconds(calls, repeats=repeats)
    for contestant in found:
        row = rows[contestant.name]
        row["seconds"] = [s / contestant.share for s in seconds[contestant.name]]
        row["median_ms"] = 1e3 * statistics.median(row["seconds"])
        row |= _counts(problem, kind, contestant)
        row["against"] = contestant.against
        if contestant.against:
            ours, compiled = contestant.against, contestant.against + COMPILED
            row["theirs_over_ours"] = median_ratio(rows[ours]["seconds"], row["seconds"])
            row["theirs_over_compiled"] = median_ratio(rows[compiled]["seconds"], row["seconds"])
    return {"problem": name, "title": problem.title, "kind": kind, "rows": list(rows.values())}


def _waited_for(call: Callable[[], object], device: str) -> Callable[[], object]:
    """The call, with a wait for the GPU's answer."""

    def waited_for() -> None:
        call()
        if device == "cuda":
            torch.cuda.synchronize()

    return waited_for


def _counts(problem: Problem, kind: str, contestant: Contestant) -> dict[str, float]:
    """Calls of f, backward ones included, and evaluations a sample."""
    counter = Counter(features=problem.y0[0].numel())
    RUNS[kind](problem, (contestant.build_counted or contestant.build)(counter.wrap))
    samples = len(problem.y0) * contestant.share
    return {"calls": counter.calls, "nfe_per_sample": counter.samples / samples}


def table(result: dict[str, Any]) -> str:
    """The rows of one problem and kind as aligned text."""
    what = "max error" if result["kind"] == "forward" else "rel. error"
    width = max(len(row["contestant"]) for row in result["rows"])
    lines = [
        f"{result['problem']}, {result['kind']}: {result['title']}",
        f"{'':{width}}{'median ms':>11}{'theirs/ours':>13}{'/compiled':>11}{'calls':>8}{'NFE':>8}"
        f"{what:>12}  ours is",
    ]
    for row in result["rows"]:
        ratio = f"{row['theirs_over_ours']:.2f}" if row["against"] else "-"
        compiled = f"{row['theirs_over_compiled']:.2f}" if row["against"] else "-"
        lines.append(
            f"{row['contestant']:{width}}{row['median_ms']:11.2f}{ratio:>13}{compiled:>11}"
            f"{row['calls']:8.0f}{row['nfe_per_sample']:8.1f}{row['error']:12.1e}  "
            f"{row['against'] or '-'}"
        )
    return "\n".join(lines)


def surroundings(device: str, repeats: int) -> dict[str, Any]:
    """Hardware, commit, versions, date and the number of measured runs."""
    hardware = machine()
    if device == "cuda":
        hardware += f", {torch.cuda.get_device_name()}"
    found = {name: _version(name) for name in LIBRARIES} | {"python": platform.python_version()}
    today = datetime.date.today().isoformat()
    return {
        "date": today,
        "machine": hardware,
        "commit": commit(),
        "versions": found,
        "repeats": repeats,
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def main() -> None:
    """Measure, print the tables, and write them where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=7, help="measured runs of each, at least 5")
    parser.add_argument("--only", choices=PROBLEMS, help="one problem instead of all")
    parser.add_argument("--kind", choices=RUNS, help="forward or gradient instead of both")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument(
        "--save", action="store_true", help="also write benchmarks/results/solvers-DATE.md"
    )
    options = parser.parse_args()
    if options.repeats < 5:
        parser.error(f"--repeats must be at least 5, got {options.repeats}")
    if options.save and (options.only or options.kind):
        parser.error("--save must go without --only and --kind: a saved table holds all rows")
    context = surroundings(options.device, options.repeats)
    versions = ", ".join(f"{name} {number}" for name, number in context["versions"].items())
    head = (
        f"{context['date']}, n = {context['repeats']}, commit {context['commit']}, "
        f"{context['machine']}\n{versions}"
    )
    print(head, flush=True)
    results, texts = [], []
    for name in [options.only] if options.only else PROBLEMS:
        for kind in [options.kind] if options.kind else RUNS:
            results.append(measure(name, kind, options.device, options.repeats))
            texts.append(table(results[-1]))
            print("\n" + texts[-1], flush=True)
    if options.json:
        options.json.write_text(json.dumps(context | {"results": results}, indent=2))
    if options.save:
        _save(context, [head, *texts], options.device)


def _save(context: dict[str, Any], texts: list[str], device: str) -> None:
    RESULTS.mkdir(exist_ok=True)
    suffix = "" if device == "cpu" else f"-{device}"
    path = RESULTS / f"solvers-{context['date']}{suffix}.md"
    blocks = ["    " + text.replace("\n", "\n    ") for text in texts]
    explained = (__doc__ or "").split("\n\n")[2]
    path.write_text("\n\n".join([f"# solvers, {context['date']}", explained, *blocks]) + "\n")
    print(f"\nwrote {path}")


if __name__ == "__main__":
    main()
