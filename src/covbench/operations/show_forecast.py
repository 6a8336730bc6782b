"""Show a forecast: a table of its lines, and the whole study on 1, 2 and 8 GPUs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter

from covbench.operations.forecast import Forecast, Line, sum_disk, wall_clock
from covbench.operations.gpu_classes import GpuClass, read_board_watts
from covbench.operations.run_costs import FINISHED, Cost
from covbench.operations.step_timings import ESTIMATED, MEASURED
from covbench.system.disk import show_bytes

MOST_LINES = 40  # above, the networks of a task and protocol share a line
AT_ONCE = (1, 2, 8)
COSTS = ("A RUN", "ALL", "MEMORY", "GPU", "DISK", "BASIS")
UNKNOWN = "?"


def show_forecast(forecast: Forecast, at_once: int, fold: bool) -> str:
    """Show the table, its totals and the whole study.

    Args:
        forecast: With at least one line.
        at_once: Number of runs that train at the same time.
        fold: Whether the networks of a task and protocol may share a line.

    Returns:
        Lines of text.
    """
    folded = fold and len(forecast.lines) > MOST_LINES
    table = _show_folded(forecast.lines) if folded else _show_networks(forecast.lines)
    return "\n".join([*table, "", *_show_totals(forecast.lines, at_once), "", *show_study(forecast)])


def _show_networks(lines: Sequence[Line]) -> list[str]:
    """Show a line for each network below its task and protocol."""
    cells = [(line.architecture, str(line.runs), *_show_costs([line])) for line in lines]
    head, *shown = _align(_drop_gpu([("ARCHITECTURE", "RUNS", *COSTS), *cells]))
    titles = [f"{line.task}, {line.protocol}: {_show_images(line)} images" for line in lines]
    return [f"  {head}", *_put_titles(titles, shown)]


def _show_folded(lines: Sequence[Line]) -> list[str]:
    """Show a line for each protocol below its task."""
    folded = [list(group) for _, group in groupby(lines, key=lambda line: (line.task, line.protocol))]
    rows: list[tuple[str, ...]] = [("PROTOCOL", "NETWORKS", "RUNS", "IMAGES", *COSTS)]
    for group in folded:
        runs = str(sum(line.runs for line in group))
        rows.append((group[0].protocol, str(len(group)), runs, _show_images(group[0]), *_show_costs(group)))
    head, *shown = _align(_drop_gpu(rows))
    return [f"  {head}", *_put_titles([group[0].task for group in folded], shown)]


def _put_titles(titles: Sequence[str], rows: Sequence[str]) -> Iterator[str]:
    """Put each title once above the rows that share it."""
    for title, inside in groupby(zip(titles, rows, strict=True), key=itemgetter(0)):
        yield title
        yield from (f"  {row}" for _, row in inside)


def _show_images(line: Line) -> str:
    return f"{'' if line.counted else '~'}{line.images}"


def _show_costs(lines: Sequence[Line]) -> tuple[str, ...]:
    """Show the columns COSTS of some lines together. Memory is that of the largest run."""
    known = [(line.runs, line.cost) for line in lines if line.cost]
    if not known:
        return (*[UNKNOWN] * 5, "nothing yet")
    seconds = [cost.seconds for _, cost in known]
    spread = {show_seconds(min(seconds)): None, show_seconds(max(seconds)): None}
    gpu = max(cost.gpu_mb for _, cost in known)
    return (
        " to ".join(spread),
        show_seconds(sum(runs * cost.seconds for runs, cost in known)),
        show_mb(max(cost.memory_mb for _, cost in known)),
        show_mb(gpu) if gpu else "-",
        show_mb(sum(runs * cost.disk_mb for runs, cost in known)),
        _show_basis([line.cost for line in lines]),
    )


def _show_basis(costs: Sequence[Cost | None]) -> str:
    """Show what the costs are based on: the basis that they share, or how many have a better one than an estimate."""
    if len(costs) == 1 and costs[0]:
        return costs[0].basis
    kinds = Counter(name_basis(cost) for cost in costs)
    if len(kinds) == 1:
        return next(iter(kinds))
    return ", ".join(f"{kinds[kind]} of {len(costs)} {kind}" for kind in (FINISHED, MEASURED, UNKNOWN) if kinds[kind])


def name_basis(cost: Cost | None) -> str:
    """Name the kind of a basis: finished, measured, estimated, or ? if nothing is known."""
    if cost is None:
        return UNKNOWN
    return next((kind for kind in (FINISHED, MEASURED) if kind in cost.basis), ESTIMATED)


def _drop_gpu(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Leave out the column GPU if no run uses one."""
    gpu = rows[0].index("GPU")
    used = any(row[gpu] not in ("-", UNKNOWN) for row in rows[1:])
    return list(rows) if used else [(*row[:gpu], *row[gpu + 1 :]) for row in rows]


def _align(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _show_totals(lines: Sequence[Line], at_once: int) -> list[str]:
    known = [line for line in lines if line.cost]
    disk, scratch = sum_disk(lines, at_once)
    text = [
        f"{sum(line.runs for line in known)} runs: {show_seconds(wall_clock(lines, 1))} one after another, "
        f"{show_seconds(wall_clock(lines, at_once))} with {at_once} at once",
        f"disk: {show_mb(disk)} of results, and {show_mb(scratch)} of checkpoints while they train",
    ]
    if unknown := sum(line.runs for line in lines if not line.cost):
        text.append(f"{unknown} runs are not included, because nothing is known yet; repeat with more --minutes")
    return text


def show_study(forecast: Forecast) -> list[str]:
    """Show the whole study: how many runs are known and how, and its hours, memory, disk and energy by machine."""
    kinds: Counter[str] = Counter()
    for line in forecast.lines:
        kinds[name_basis(line.cost)] += line.runs
    bases = (FINISHED, MEASURED, ESTIMATED)
    to_do = ", ".join(f"{kinds[kind]} from {words}" for kind, words in zip(bases, _WORDS, strict=True))
    sized = forecast.lines  # a table says how large networks are that nothing is known of yet
    if forecast.on_classes and not all(line.cost for line in sized):
        sized = forecast.on_classes[0][1]
    scratch = ", ".join(show_mb(sum_disk(sized, at_once)[1]) for at_once in AT_ONCE)
    text = [
        f"THE WHOLE STUDY: {forecast.finished} trainings have finished, {sum(kinds.values())} are still to do",
        f"  known: {to_do}; unknown: {kinds[UNKNOWN]}",
        f"  disk: {show_mb(sum_disk(sized, 1)[0])} of results; checkpoints with 1, 2 and 8 at once: {scratch}",
        "",
    ]
    hours = [f"{at_once} AT ONCE" for at_once in AT_ONCE]
    rows = [("MACHINE", *hours, "MEMORY", "IN HALVES", "TOO LARGE", "kWh", "BASIS"), _show_here(forecast.lines)]
    rows += [_show_class(gpu, lines) for gpu, lines in forecast.on_classes]
    text += [f"  {row}" for row in _align(rows)]
    notes = ["this machine, each timed network estimated from the others:", f"  {forecast.error}"]
    notes = notes * bool(forecast.error) + [
        "GPU classes: estimated from data sheets, not measured. kWh: the boards at full power"
    ] * (len(rows) > 2)
    return [*text, "", *(f"  {note}" for note in notes)]


_WORDS = ("finished runs", "timings", "estimates")


def _show_here(lines: Sequence[Line]) -> tuple[str, ...]:
    """Show the row of this machine. Trainings on one CPU slow each other down, so hours at once are for GPUs only."""
    costs = [line.cost for line in lines if line.cost]
    if not costs:
        return ("this machine", *[UNKNOWN] * 8)
    gpu = max(cost.gpu_mb for cost in costs)
    memory = gpu or max(cost.memory_mb for cost in costs)
    hours = [show_seconds(wall_clock(lines, n)) if n == 1 or gpu else "-" for n in AT_ONCE]
    kinds = sorted({name_basis(cost) for cost in costs})
    watts = read_board_watts() if gpu else 0.0
    return ("this machine", *hours, show_mb(memory), "-", "-", _show_energy(lines, watts), ", ".join(kinds))


def _show_class(gpu: GpuClass, lines: Sequence[Line]) -> tuple[str, ...]:
    """Show the row of a class of GPUs. Runs that do not fit into its memory are counted, and not in the hours."""
    fitting = [line for line in lines if line.cost and line.cost.micro_batches]
    hours = [show_seconds(wall_clock(fitting, n)) for n in AT_ONCE]
    memory = max((line.cost.gpu_mb for line in fitting if line.cost), default=0)
    halves, large = (_count_runs(lines, micro_batches) for micro_batches in (2, 0))
    unknown = sum(line.runs for line in lines if not line.cost)
    basis = f"{ESTIMATED} from its data sheet" + f", without {unknown} unknown runs" * bool(unknown)
    return (gpu.name, *hours, show_mb(memory), str(halves), str(large), _show_energy(fitting, gpu.watts), basis)


def _count_runs(lines: Iterable[Line], micro_batches: int) -> int:
    return sum(line.runs for line in lines if line.cost and line.cost.micro_batches == micro_batches)


def _show_energy(lines: Sequence[Line], watts: float) -> str:
    """Show kWh of the board at its largest power; - if that is unknown."""
    energy = wall_clock(lines, 1) / 3600 * watts / 1000
    return f"{energy:,.{0 if energy >= 10 else 1}f}" if watts else "-"


def show_seconds(seconds: float) -> str:
    """Show seconds as `45 s`, `12 min`, `3.5 h` or `1,210 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 360_000 else f"{seconds / 3600:,.0f} h"


def show_mb(megabytes: float) -> str:
    """Show a size in MB of 2**20 bytes, such as `1.2 GB`."""
    return show_bytes(round(megabytes * 2**20))
