"""What the page shows of one group of results, as plain data for the template."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tome_zoo import cards, schedule
from tome_zoo.errors import CardError
from tome_zoo.evaluation.results import Result
from tome_zoo.evaluation.stored import class_names
from tome_zoo.reports.comparison import Comparison
from tome_zoo.reports.numbers import format_number, format_ratio
from tome_zoo.reports.page.changes import Change, best, find_changes, most_telling
from tome_zoo.reports.page.chart import Chart, tradeoff_charts
from tome_zoo.reports.page.per_class import ClassCost, class_costs, most_changed
from tome_zoo.reports.page.pictures import Illustrator, Picture, load_for_pictures
from tome_zoo.reports.page.scores import GroupScores, read_group_scores
from tome_zoo.reports.tables import rows

DRAWN_CHANGES = 4  # at each r
SLIDERS = 3
LABELS_SHOWN = 3


@dataclass(frozen=True)
class Step:
    """A sample at one r: what the slider shows."""

    r: str
    picture: Picture
    tokens: int
    predictions: list[tuple[str, str, bool]]  # label, probability, whether it is right
    samples_per_second: str
    speedup: str


@dataclass(frozen=True)
class DrawnSample:
    """A sample with its input and its steps."""

    id: str
    targets: str
    source: Picture
    steps: list[Step]


@dataclass(frozen=True)
class DrawnChange:
    """A sample whose prediction changed, drawn at that r."""

    sample: DrawnSample
    change: Change
    before: str
    after: str


@dataclass
class Against:
    """r = 0 against another r: classes, and samples whose prediction changes."""

    r: str
    classes: list[ClassCost]
    n_classes: int
    n_changed: int
    n_lost: int
    n_gained: int
    drawn: list[DrawnChange] = field(default_factory=list)


@dataclass
class Section:
    """One group of results on the page."""

    name: str
    title: str
    subtitle: str
    metric: str
    charts: list[Chart]
    rows: list[dict[str, str]]
    has_timm: bool
    has_reported: bool
    has_intervals: bool
    sources: list[str]
    facts: list[tuple[str, str]]
    chosen_r: str
    against: list[Against]
    sliders: list[DrawnSample]
    notes: list[str]

    @property
    def first_step(self) -> int:
        """Where sliders stand at first."""
        steps = [step.r for step in self.sliders[0].steps]
        return steps.index(self.chosen_r) if self.chosen_r in steps else len(steps) // 2


def build_section(name: str, folder: Path, compared: Sequence[Comparison], room: int) -> tuple[Section, int]:
    """The section of one group, and how many bytes its pictures took.

    Args:
        name: Unique in the page.
        folder: In which the results and their scores lie.
        compared: The results of one group beside what was reported.
        room: Bytes that pictures may take.
    """
    results = [item.result for item in compared]
    first = results[0]
    scores = read_group_scores(folder, results)
    intervals = [scores.interval(result.r, first.metric) if scores else None for result in results]
    section = Section(
        name=name,
        title=first.model,
        subtitle=", ".join(
            [f"{first.dataset} {first.split}", first.reducer, first.device, first.dtype, f"batch {first.batch_size}"]
        ),
        metric="mAP" if first.metric == "map" else "top-1",
        charts=tradeoff_charts(name, compared, intervals),
        rows=_rows(compared, intervals),
        has_timm=first.timm_samples_per_second is not None,
        has_reported=any(item.reported for item in compared),
        has_intervals=scores is not None,
        sources=_sources(compared),
        facts=_facts(first),
        chosen_r="",
        against=[],
        sliders=[],
        notes=[],
    )
    if scores is None:
        section.notes.append("The scores of single samples or the data are not at hand: no intervals, no samples.")
        return section, 0
    labels = class_names(scores.dataset, next(iter(scores.scores.values())).shape[1])
    merged = [result.r for result in results if result.r != "0"]
    changes = {}
    if "0" in scores.scores and merged:
        changes = {r: find_changes(scores, r, first.metric) for r in merged}
        section.against = [_against(scores, r, first.metric, labels, changes[r]) for r in merged]
        section.chosen_r = _default_r(first, merged)
    model = load_for_pictures(first)
    if model is None:
        section.notes.append("The evaluated weights are not on this machine: samples are not drawn.")
        return section, 0
    illustrator = Illustrator(model, room)
    draw = _drawer(illustrator, scores, results, labels)
    order = sorted(results, key=lambda result: -result.gmacs)
    for row in most_telling(list(changes.values()), len(scores.samples), SLIDERS):
        if sample := draw(row, [result.r for result in order]):
            section.sliders.append(sample)
    for against in section.against:
        for change in changes[against.r][:DRAWN_CHANGES]:
            if sample := draw(change.row, [against.r]):
                names = [", ".join(labels[c] for c in classes) for classes in (change.unmerged, change.merged)]
                against.drawn.append(DrawnChange(sample, change, *names))
    return section, room - illustrator.room


def _drawer(
    illustrator: Illustrator, scores: GroupScores, results: Sequence[Result], labels: Sequence[str]
) -> Callable[[int, Sequence[str]], DrawnSample | None]:
    metric, targets = results[0].metric, scores.targets
    speeds = {record["r"]: record for record in rows(results)}
    probabilities = {r: scores.probabilities(r, metric) for r in scores.scores}

    def draw(row: int, schedules: Sequence[str]) -> DrawnSample | None:
        sample = scores.dataset.samples[scores.samples[row]]
        drawn = None if sample.span else illustrator.draw(sample.path, schedules)  # it draws whole files
        if drawn is None:
            return None
        steps = []
        for r, (picture, tokens) in zip(schedules, drawn[1], strict=True):
            chances = probabilities[r][row]
            predictions = [
                (labels[c], f"{100 * chances[c]:.1f} %", c in targets[row]) for c in best(chances, LABELS_SHOWN)
            ]
            speed = format_number(speeds[r]["samples_per_second"])
            steps.append(Step(r, picture, tokens, predictions, speed, format_ratio(speeds[r]["speedup_over_r0"])))
        return DrawnSample(sample.id, ", ".join(labels[c] for c in targets[row]), drawn[0], steps)

    return draw


def _against(scores: GroupScores, r: str, metric: str, labels: Sequence[str], changes: list[Change]) -> Against:
    costs = class_costs(scores, r, metric, labels)
    verdicts = [change.verdict for change in changes]
    return Against(r, most_changed(costs), len(costs), len(changes), verdicts.count("lost"), verdicts.count("gained"))


def _rows(compared: Sequence[Comparison], intervals: Sequence[Any]) -> list[dict[str, str]]:
    made = []
    for item, record, interval in zip(compared, rows([item.result for item in compared]), intervals, strict=True):
        result = item.result
        made.append({
            "r": result.r,
            "tokens": str(record["tokens_out"]),
            "gmacs": format_number(result.gmacs),
            "fewer": format_ratio(record["gmacs_ratio"]),
            "score": f"{result.score:.2f}",
            "interval": "" if interval is None else f"{interval.low:.1f} to {interval.high:.1f}",
            "top5": "" if result.top5 is None else f"{result.top5:.2f}",
            "reported": "" if item.reported is None else f"{getattr(item.reported, result.metric):.2f}",
            "difference": "" if item.difference is None else f"{item.difference:+.2f}",
            "speed": format_number(result.samples_per_second),
            "speedup": format_ratio(record["speedup_over_r0"]),
            "over_timm": format_ratio(record["speedup_over_timm"]),
        })  # fmt: skip
    return made


def _sources(compared: Sequence[Comparison]) -> list[str]:
    """Who reported what, and by which protocol where it is another one."""
    found: dict[str, None] = {}
    for item in compared:
        if item.reported is not None:
            note = f" ({item.reported.note})" if item.reported.note else ""
            other = f"; by protocol {item.other_protocol}" if item.other_protocol else ""
            found[f"r = {item.result.r}: {item.reported.source}{note}{other}"] = None
    return list(found)


def _facts(result: Result) -> list[tuple[str, str]]:
    """Protocol, data, machine and versions."""
    scored = f"{result.n_scored:,} of {result.n_expected:,} samples scored"
    facts = [
        ("Data", f"{result.dataset}, split {result.split}; {scored}; {_views(result.views)} a sample"),
        ("Protocol", result.protocol),
        ("Weights", f"SHA-256 of the tensors {result.weights}…"),
        ("Attention", f"{'proportional to token size' if result.prop_attn else 'not weighted by size'}"),
        ("Machine", f"{result.device}, {result.dtype}, batches of {result.batch_size}, {result.ranks} process(es)"),
        ("Versions", ", ".join(f"{name} {version}" for name, version in result.versions.items())),
        ("Commit", result.commit or ""),
        ("Date", result.date),
    ]
    try:
        facts[0] = ("Data", f"{cards.dataset_card(result.dataset).title}: {facts[0][1]}")
        protocol = cards.protocol_card(result.protocol.partition("@")[0])
        if protocol.id == result.protocol:
            facts[1] = ("Protocol", f"{protocol.id}: {protocol.summary}")
    except CardError:  # the results may be of cards that are not at hand
        pass
    return [(name, text) for name, text in facts if text]


def _views(count: int) -> str:
    return "1 view" if count == 1 else f"{count} views"


def _default_r(result: Result, merged: Sequence[str]) -> str:
    """The card's own r, if it was run, else the last one."""
    try:
        wanted = schedule.format(cards.model_card(result.model).merging.default_r)
    except CardError:
        wanted = ""
    return wanted if wanted in merged else merged[-1]
