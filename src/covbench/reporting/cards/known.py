"""What the pipeline knows for a reporting checklist: sentences by the name of a fact, computed from the results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from covbench.data.sources.origins import name_source
from covbench.evaluation.comparison.draws import DRAWS
from covbench.evaluation.comparison.intervals import FEWEST_GROUPS, FEWEST_SEEDS
from covbench.evaluation.definitions import label_metric, list_reported
from covbench.experiment.plan import BASELINE, DEEP, ENSEMBLE, EXTERNAL
from covbench.experiment.runs import RunState
from covbench.protocols import LAST, PROTOCOLS, Options, split_rule
from covbench.reporting import balance, leading
from covbench.reporting.cards.dataset_card import count_exclusions
from covbench.reporting.gather import Results, describe_task, find_card, read_index
from covbench.reporting.headlines import choose_headline
from covbench.reporting.origins import list_commits, list_packages
from covbench.reporting.sections.external import build_external_section
from covbench.reporting.sections.leaderboard import describe_flags, knows_patients, measure_leaks
from covbench.reporting.sections.model_pairs import read_resolution
from covbench.reporting.steps import read_steps
from covbench.reporting.tables import order_protocols
from covbench.reporting.wording import describe_size, join_words, name_metric, name_protocol
from covbench.schema import NOT_STATED, SEGMENTATION, Card, Task

FAMILIES = {DEEP: "Networks", BASELINE: "Baselines", EXTERNAL: "Contestants from elsewhere", ENSEMBLE: "Ensembles"}


@dataclass(frozen=True)
class Known:
    """What the facts are computed from. data: folder that holds index/. cards: dataset -> card, of planned datasets."""

    results: Results
    data: Path
    tasks: tuple[Task, ...]
    cards: dict[str, Card]

    @cached_property
    def parts(self) -> list[tuple[Task, Results]]:
        """Each task with the results of it alone."""
        return [(task, self.results.select(task.name)) for task in self.tasks]

    def cells(self) -> Iterator[tuple[Task, str]]:
        """Each task with each of its planned protocols that is registered."""
        for task in self.tasks:
            planned = self.results.runs.loc[self.results.runs["task"] == task.name, "protocol"]
            yield from ((task, protocol) for protocol in order_protocols(planned) if protocol in PROTOCOLS)

    def options(self) -> Iterator[tuple[str, list[Options]]]:
        """`protocol, kind` with the distinct options of its scored networks."""
        found: dict[str, list[Options]] = {}
        kinds = {task.name: task.kind for task in self.tasks}
        for run in self.results.scored:
            if run.planned.options is not None and run.family == DEEP:
                chosen = found.setdefault(f"{name_protocol(run.protocol)}, {kinds[run.task]}", [])
                chosen += [run.planned.options] * (run.planned.options not in chosen)
        yield from found.items()


Fact = Callable[[Known], Iterator[str]]
FACTS: dict[str, Fact] = {}
"""By the name that the checklists use."""


def fact(function: Fact) -> Fact:
    """Register a fact under the name of its function."""
    FACTS[function.__name__] = function
    return function


def gather_known(results: Results, data: Path) -> Known:
    """Gather what the facts are computed from. data: folder that holds index/."""
    names = list(dict.fromkeys(results.runs["task"]))
    cards = {dataset: card for dataset, card in map(find_card, names) if card is not None}
    return Known(results, data, tuple(describe_task(name, results.of(name)) for name in names), cards)


@fact
def models(known: Known) -> Iterator[str]:
    runs = known.results.runs
    for family, word in FAMILIES.items():
        if names := list(dict.fromkeys(runs.loc[runs["family"] == family, "architecture"])):
            yield f"{word}: {', '.join(names)}."


@fact
def tasks(known: Known) -> Iterator[str]:
    for task in known.tasks:
        yield f"{task.name}: {task.kind} into {', '.join(task.classes)}."


@fact
def sources(known: Known) -> Iterator[str]:
    for name, card in known.cards.items():
        yield f"{name}: {'; '.join(map(name_source, card.all_sources))}. {card.citation}."


def _state(known: Known, field: str) -> Iterator[str]:
    """What each dataset's datasheet says in a field; nothing where the source does not state it."""
    for name, card in known.cards.items():
        if (words := getattr(card.datasheet, field)) != NOT_STATED:
            yield f"{name}: {words}"


@fact
def collection(known: Known) -> Iterator[str]:
    return _state(known, "collection")


@fact
def annotators(known: Known) -> Iterator[str]:
    return _state(known, "annotation")


@fact
def limitations(known: Known) -> Iterator[str]:
    return _state(known, "limitations")


@fact
def sensitive(known: Known) -> Iterator[str]:
    return _state(known, "sensitive")


@fact
def labels(known: Known) -> Iterator[str]:
    for name, card in known.cards.items():
        yield f"{name}: {card.datasheet.labels}"


@fact
def availability(known: Known) -> Iterator[str]:
    for name, card in known.cards.items():
        yield f"{name}: {card.homepage or 'drawn by the code'}; licence: {card.licence}."


@fact
def exclusions(known: Known) -> Iterator[str]:
    for name in known.cards:
        yield from (f"{name}: {sentence}" for sentence in count_exclusions(read_index(known.data, name)))


def _list(options: list[Options], field: str) -> str:
    """The values of an option among networks, such as `224 or 240`."""
    return " or ".join(dict.fromkeys(str(getattr(chosen, field)) for chosen in options))


@fact
def preprocessing(known: Known) -> Iterator[str]:
    for cell, options in known.options():
        sizes, resize, scaling = (_list(options, field) for field in ("size", "resize", "scaling"))
        yield f"{cell}: resized to {sizes} pixels ({resize}), input scaling {scaling}."


@fact
def training(known: Known) -> Iterator[str]:
    words = ("head_epochs", "head_rate", "fine_tune_epochs", "fine_tune_rate", "batch_size", "loss", "augmentation")
    for cell, options in known.options():
        shown = (f"{word.replace('_', ' ')} {_list(options, word)}" for word in words)
        yield f"{cell}: {', '.join(shown)}."
    if trials := max((len(run.planned.trials) for run in known.results.scored), default=0):
        yield f"The rates above are those before a search, which has {trials} trials for each network and seed."


@fact
def selection(known: Known) -> Iterator[str]:
    meanings = {LAST: "the last epoch"}
    for cell, options in known.options():
        kept = dict.fromkeys(meanings.get(chosen.keep, "the lowest validation loss") for chosen in options)
        yield f"{cell}: {' or '.join(kept)}."


@fact
def imbalance(known: Known) -> Iterator[str]:
    for cell, options in known.options():
        yield f"{cell}: class weights {_list(options, 'class_weights')}."


@fact
def weights(known: Known) -> Iterator[str]:
    runs = known.results.runs
    runs = runs[(runs["family"] == DEEP) & (runs["state"] == RunState.SCORED)]
    for name, rows in runs.groupby("weights", sort=False):
        yield f"{'random' if name == 'none' else str(name)}: {', '.join(dict.fromkeys(rows['architecture']))}."


@fact
def ensembles(known: Known) -> Iterator[str]:
    runs = known.results.runs
    names = list(dict.fromkeys(runs.loc[runs["family"] == ENSEMBLE, "architecture"]))
    yield f"Ensembles: {', '.join(names)}." if names else "No ensemble was planned."


@fact
def software(known: Known) -> Iterator[str]:
    for run in known.results.scored[:1]:
        yield f"Python {run.manifest.get('python', '')}, {list_packages(run.manifest)}; all others in envs/cpu.txt."


@fact
def code(known: Known) -> Iterator[str]:
    if shown := ", ".join(list_commits(known.results.scored)):
        yield f"covbench, Apache-2.0, commit {shown}."


@fact
def partitions(known: Known) -> Iterator[str]:
    for protocol in dict.fromkeys(protocol for _, protocol in known.cells()):
        yield f"{name_protocol(protocol)}: {PROTOCOLS[protocol].meaning}".replace("`", "")


@fact
def fractions(known: Known) -> Iterator[str]:
    for task, protocol in known.cells():
        rule = split_rule(protocol, task)
        shares = " / ".join(f"{share:.0%}" for share in (rule.base or rule).fractions)
        yield f"{task.name}, {name_protocol(protocol)}: {shares} for training, validation and test."


@fact
def units(known: Known) -> Iterator[str]:
    for task, protocol in known.cells():
        rule = split_rule(protocol, task)
        unit = (rule.base or rule).unit
        words = "group (patient with all near-duplicates)" if unit == "group" else unit
        yield f"{task.name}, {name_protocol(protocol)}: divided by {words}."


@fact
def leaks(known: Known) -> Iterator[str]:
    for task, part in known.parts:
        splits = part.audit["splits"]
        flags = describe_flags(measure_leaks(splits), part.audit["sources"].iloc[:0], knows_patients(splits))
        yield from (f"{task.name}, {word}: {sentence}" for word, sentence in flags)


@fact
def shortcuts(known: Known) -> Iterator[str]:
    for task, part in known.parts:
        yield from (f"{task.name}: {sentence}" for _, sentence in describe_flags({}, part.audit["sources"]))


@fact
def folds(known: Known) -> Iterator[str]:
    for task in known.tasks:
        for protocol in order_protocols(run.protocol for run in known.results.of(task.name)):
            fold = known.results.of(task.name, protocol)[0].metrics
            size = describe_size(fold.get("images", 0), fold.get("patients"), fold.get("groups"), "test image")
            yield f"{task.name}, {name_protocol(protocol)}, first seed: {size}."


@fact
def resolution(known: Known) -> Iterator[str]:
    for task, part in known.parts:
        if len(part.compare["resolution"]):
            yield from (f"{task.name}: {sentence}" for sentence in read_resolution(part.compare["resolution"]))


@fact
def agreement(known: Known) -> Iterator[str]:
    if pairs := len(known.results.compare["agreement"]):
        yield f"{pairs} comparisons of two readers of the same test fold: results/compare/agreement.csv."


@fact
def metrics(known: Known) -> Iterator[str]:
    for kind in dict.fromkeys(task.kind for task in known.tasks):
        labels = [name_metric(name) for name in list_reported(kind)]
        if labels:
            yield f"{kind.capitalize()}: {', '.join(labels)}. The report defines each one."


@fact
def uncertainty(known: Known) -> Iterator[str]:
    yield (
        f"95 % intervals from {DRAWS:,} bootstrap draws of groups; from {FEWEST_SEEDS} seeds on, they include the "
        f"noise of training. Fewer than {FEWEST_GROUPS} groups: no interval."
    )
    yield "Pairs of models: a t test with the same error, corrected after Holm over all pairs of a metric."


@fact
def leaders(known: Known) -> Iterator[str]:
    for task, part in known.parts:
        headline = choose_headline(task.kind, part.published)
        found = leading.read_leaders(part.summary, part.compare["pairs"], headline)
        yield from (f"{task.name} ({label_metric(headline)}): {sentence}" for sentence in found.values())


@fact
def duplicates(known: Known) -> Iterator[str]:
    for task, part in known.parts:
        headline = choose_headline(task.kind, part.published)
        yield from (f"{task.name}, {words}" for words in leading.read_duplicates(part.summary, headline).values())


@fact
def steps(known: Known) -> Iterator[str]:
    for task, part in known.parts:
        headline = choose_headline(task.kind, part.published)
        yield from (f"{task.name}: {words}" for words in read_steps(part.compare["protocols"], [headline]))


@fact
def majorities(known: Known) -> Iterator[str]:
    for task, part in known.parts:
        found = balance.read_majorities(balance.find_majorities(part.metrics))
        yield from (f"{task.name}, {sentence}" for sentence in found)


@fact
def subgroups(known: Known) -> Iterator[str]:
    for task, part in known.parts:
        facts = part.compare["subgroups"].dropna(subset=["mean"])["fact"].unique()
        if len(facts):
            yield f"{task.name}: scores by {join_words([name.replace('_', ' ') for name in facts])} on the task's page."


@fact
def external(known: Known) -> Iterator[str]:
    yield from build_external_section(known.results.compare["external"]).readings


@fact
def explanations(known: Known) -> Iterator[str]:
    explained = known.data.parent / "results" / "explained"
    if names := sorted({path.parent.name for path in explained.glob("*/*.npz")}):
        yield f"Grad-CAM of the cases on which each classifier was most wrong: {join_words(names)}."


@fact
def outputs(known: Known) -> Iterator[str]:
    kinds = {task.kind for task in known.tasks}
    yield "A probability per class. The class with the highest one is the answer."
    if len(known.results.compare["operating_points"]):
        yield "Operating points of two classes: thresholds from the validation fold, rated on the test fold."
    if SEGMENTATION in kinds:
        yield "Segmentation: the class with the highest probability at each pixel."
