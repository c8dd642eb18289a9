"""Define the events of the commands that measure judges."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from distask.cli.events.models import Completions, Model, Result


class Metric(Model):
    """A measure with its 95 % interval."""

    value: float
    low: float | None = Field(description="null if there are too few items for an interval")
    high: float | None


class LabelScores(Model):
    """How well a judge finds one label; null where it is undefined."""

    label: str
    precision: Metric | None
    recall: Metric | None
    f1: Metric | None


class Confusion(Model):
    """How often each gold label meets each label of the judge."""

    labels: list[str]
    rows: Literal["gold"]
    columns: Literal["judge"]
    counts: list[list[int]]


class ReliabilityBin(Model):
    """Items with similar probabilities; every bin has the same number of items."""

    n: int
    mean: float = Field(description="mean probability")
    share: float = Field(description="share of items whose gold label it is")


class Reliability(Model):
    """The reliability curve of a label."""

    label: str
    bins: list[ReliabilityBin]


class Slice(Model):
    """Agreement on the rows with one value of a column."""

    column: str
    value: str
    n: int
    metrics: dict[str, Metric | None]
    undefined: dict[str, str]


class Consistency(Model):
    """Agreement of several values of the same row with each other."""

    items: int = Field(description="rows with at least two values")
    pairs: int
    metrics: dict[str, Metric | None]
    undefined: dict[str, str]


class People(Model):
    """Agreement of people: the ceiling of a judge."""

    annotators: dict[str, int] = Field(description="number of labels of each")
    agreement: Consistency | None = Field(description="of different annotators; null if no row has two")
    self_consistency: Consistency | None = Field(description="of one annotator who saw a row twice")


class Difference(Model):
    """A judge's metrics minus those of the best judge, on the pairs that both judged."""

    from_: str = Field(alias="from", description="the best judge")
    n: int
    metrics: dict[str, Metric | None]
    mcnemar: float | None = Field(description="p-value of McNemar's exact test; null for scores and clustered rows")


class Agreement(Model):
    """A judge compared with people, or with its own replies."""

    event: Literal["agreement"]
    command: Literal["agree"]
    judge: str
    gold: str | None = Field(description="null if replies of a row are compared with each other")
    kind: Literal["nominal", "ordinal", "number", "preference", "multilabel", "ranking", "probability"]
    kind_source: str = Field(description="where the kind comes from")
    n: int = Field(description="compared pairs of a judge's value and a label")
    items: int = Field(description="rows that they come from")
    clusters: int | None = Field(description="null if every pair is independent")
    excluded: dict[str, int] = Field(description="number of values left out, by reason")
    labels: list[str] = Field(description="the labels, or the steps of the scale in ascending order")
    baseline: float | None = Field(description="what a constant judge would get, in `baseline_metric`")
    baseline_metric: Literal["accuracy", "mae"] | None
    base_rates: dict[Literal["judge", "gold"], dict[str, float]] | None = Field(
        description="share of each label; for numbers, their `mean` and `sd`"
    )
    metrics: dict[str, Metric | None] = Field(description="null where a metric is undefined or does not fit")
    undefined: dict[str, str] = Field(description="why a metric is null")
    by_label: list[LabelScores]
    confusion: Confusion | None = Field(description="null for more than 50 labels, numbers, sets and rankings")
    reliability: list[Reliability] | None = Field(description="for probabilities")
    slices: list[Slice]
    people: People | None = Field(description="null if no row was labelled twice")
    self_consistency: Consistency | None = Field(description="of a judge's replies to the same row")
    rank: int | None = Field(description="1 for the best of several judges")
    ranked_by: str | None = Field(description="the metric that ranks judges")
    difference: Difference | None = Field(description="for all judges but the best")
    task: str | None
    model: str | None
    cost_per_1000_rows: float | None = Field(description="USD; null if the record of the run has no cost")
    resamples: int
    seed: int
    notes: list[str]


class EstimatedValue(Model):
    """An estimate with its 95 % interval."""

    value: float
    low: float | None
    high: float | None


class CorrectedValue(EstimatedValue):
    """An estimate that the labels correct."""

    method: str
    reliance: float | None = Field(
        None, description="how far it relies on the judge: 0 uses the labels only (lambda of PPI++)"
    )


class PoolEstimate(Model):
    """The mean or a share over all judged rows, from the judge and the labels."""

    event: Literal["estimate"]
    command: Literal["agree"]
    column: str
    gold: str
    estimated: str = Field(description="what is estimated: the mean, or the share of a label")
    n_labelled: int = Field(description="labelled rows that are used")
    n_pool: int = Field(description="judged rows")
    naive: EstimatedValue = Field(description="from the judge only")
    labels_only: EstimatedValue | None
    corrected: CorrectedValue | None = Field(description="null if no correction is valid; then `reason` says why")
    rogan_gladen: CorrectedValue | None = Field(description="for shares; null if it is undefined")
    assumptions: list[str]
    reason: str | None


class AgreeResult(Result):
    """`distask agree`."""

    command: Literal["agree"]
    ok: bool
    judges: int
    unmet: list[str] = Field(description="conditions of `--require` that do not hold; if any, the exit code is 3")


class LabelResult(Result):
    """`distask label`."""

    command: Literal["label"]
    output: str = Field(description="the labels file, or the export")
    annotator: str | None = None
    answered: int | None = None
    skipped: int | None = None
    left: int | None = Field(None, description="items without an answer")
    median_seconds: float | None = Field(None, description="median time per answer")
    repeated: int | None = Field(None, description="items that were answered twice")
    consistent: int | None = Field(None, description="of these, the ones with the same answers")
    added: int | None = Field(None, description="lines that were merged or imported")
    tasks: int | None = Field(None, description="exported items")
    annotations: int | None = Field(None, description="exported answers")


class Move(Model):
    """A verdict that moved from one label to another."""

    from_: str = Field(alias="from")
    to: str
    count: int


class Bias(Model):
    """How often a change that should not matter changed one output of a judge."""

    event: Literal["bias"]
    command: Literal["stress"]
    bias: str
    description: str
    output: str
    kind: Literal["label", "boolean", "number", "pair"]
    toward: Literal["first", "last", "higher", "lower"] | None = Field(description="the direction that would be a bias")
    samples: int | None = Field(description="replies per row that are compared; null unless the chat is the same")
    n: int = Field(description="compared rows")
    changed: Metric | None = Field(description="share of verdicts that changed; null without rows")
    shift: Metric | None = Field(description="mean difference after the change; null for labels and samples")
    shift_of: str | None = Field(description="what `shift` measures")
    first_place: Metric | None = Field(
        description="share of comparisons that the first place won, in both orders, without ties"
    )
    moves: list[Move] = Field(description="labels that changed, the most common first; empty for numbers")
    found: bool | None = Field(
        description="whether the interval shows a bias in the direction `toward`; null without a direction, and for "
        "fewer than 20 rows"
    )
    failed_before: int = Field(description="rows without a verdict before the change")
    failed: int = Field(description="rows, or samples, without a verdict after it")
    unchanged: int = Field(description="rows that the change leaves as they are")
    completions: Completions
    cost_usd: float | None
    notes: list[str]


class Costs(Model):
    """Estimated cost in USD; null where it is unknown."""

    least: float | None
    expected: float | None
    most: float | None


class StressRun(Model):
    """What one run of a stress test requests."""

    name: str = Field(description="the bias; `base` for the rows as they are")
    rows: int
    unchanged: int = Field(description="rows that the change leaves as they are; they are not sent")
    replies: int
    stored: int = Field(description="replies in the store, or requested by an earlier run of the test")
    missing: int = Field(description="replies to request")
    about: bool = Field(description="whether the numbers are extrapolated, as for a task of steps")
    cost_usd: Costs | None


class StressResult(Result):
    """`distask stress`."""

    command: Literal["stress"]
    ok: bool
    dry_run: bool
    task: str
    model: str | None
    output: str | None
    biases: int
    skipped: dict[str, str] = Field(description="biases that do not apply to the task, and why")
    runs: list[StressRun] = Field(description="what each run needed before the first request")
    completions: Completions
    calls: int = Field(description="HTTP requests")
    cost_usd: float | None
    unmet: list[str] = Field(description="conditions of `--require` that do not hold; if any, the exit code is 3")
    notes: list[str]
    resamples: int
    seed: int
