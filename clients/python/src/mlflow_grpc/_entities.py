"""What calls return: plain immutable values, with MLflow's attribute names.

Times are whole milliseconds since the Unix epoch, None where the server has none. Text that
the server does not have is empty; an id or link that it does not have is None.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mlflow_grpc._enums import (
    Component,
    HealthState,
    LifecycleStage,
    MetricGoal,
    ModelVersionStage,
    ModelVersionStatus,
    RunStatus,
)


@dataclass(frozen=True, slots=True)
class Experiment:
    """A named collection of runs."""

    experiment_id: str
    name: str
    artifact_location: str
    """The URI below which its runs keep their artifacts."""
    lifecycle_stage: LifecycleStage
    tags: dict[str, str]
    creation_time: int | None
    """In milliseconds since the epoch."""
    last_update_time: int | None
    """In milliseconds since the epoch."""
    description: str
    """Free text for people: the tag `mlflow.note.content`."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One point of one metric.

    A point is identified by its run, key, timestamp, step and value: logging the same point
    twice stores it once.
    """

    key: str
    value: float
    timestamp: int | None = None
    """When it was measured, in milliseconds since the epoch. None, in a point to log: now."""
    step: int = 0
    model_id: str | None = None
    """The logged model (`m-...`) that the value belongs to as well."""
    dataset_name: str | None = None
    """The dataset it was measured on; goes with `dataset_digest`."""
    dataset_digest: str | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset, described and not contained."""

    name: str
    digest: str
    """A fingerprint of the content, at most 36 characters."""
    source_type: str
    """Such as `local` or `s3`."""
    source: str
    schema: str = ""
    """As MLflow's JSON."""
    profile: str = ""
    """Summary statistics, as MLflow's JSON."""


@dataclass(frozen=True, slots=True)
class DatasetInput:
    """A dataset in the role it had for a run."""

    dataset: Dataset
    tags: dict[str, str] = field(default_factory=dict)
    """Such as `mlflow.data.context` = `training`."""


@dataclass(frozen=True, slots=True)
class LoggedModelInput:
    """A logged model that a run used."""

    model_id: str


@dataclass(frozen=True, slots=True)
class LoggedModelOutput:
    """A logged model that a run produced."""

    model_id: str
    step: int


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What identifies a run and where it stands."""

    run_id: str
    run_name: str
    experiment_id: str
    user_id: str
    status: RunStatus
    start_time: int | None
    """In milliseconds since the epoch."""
    end_time: int | None
    """In milliseconds since the epoch; None while it runs."""
    artifact_uri: str
    lifecycle_stage: LifecycleStage


@dataclass(frozen=True, slots=True)
class RunData:
    """The params, tags and latest metrics of a run."""

    metrics: dict[str, float]
    """The latest value of each metric."""
    params: dict[str, str]
    tags: dict[str, str]
    latest_metrics: dict[str, Metric]
    """The points that `metrics` has the values of: the largest (step, timestamp, value)."""


@dataclass(frozen=True, slots=True)
class RunInputs:
    """The datasets and models that a run used."""

    dataset_inputs: tuple[DatasetInput, ...]
    model_inputs: tuple[LoggedModelInput, ...]


@dataclass(frozen=True, slots=True)
class RunOutputs:
    """The models that a run produced."""

    model_outputs: tuple[LoggedModelOutput, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of some code: what went in, what came out."""

    info: RunInfo
    data: RunData
    inputs: RunInputs
    outputs: RunOutputs


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version of a registered model."""

    name: str
    version: str
    """"1", "2", ...: assigned by the registry."""
    creation_timestamp: int | None
    """In milliseconds since the epoch."""
    last_updated_timestamp: int | None
    """In milliseconds since the epoch."""
    description: str
    user_id: str | None
    current_stage: ModelVersionStage
    source: str
    """The URI of the model's files, as registered."""
    run_id: str | None
    status: ModelVersionStatus
    status_message: str
    """Why it cannot be used, if it cannot."""
    tags: dict[str, str]
    run_link: str | None
    aliases: tuple[str, ...]
    """The aliases that point to this version, sorted."""
    model_id: str | None
    """The logged model (`m-...`) it was registered from, if any."""


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A name under which versions of a model are kept."""

    name: str
    creation_timestamp: int | None
    """In milliseconds since the epoch."""
    last_updated_timestamp: int | None
    """In milliseconds since the epoch."""
    description: str
    latest_versions: tuple[ModelVersion, ...]
    """The newest version of each stage that has one."""
    tags: dict[str, str]
    aliases: dict[str, str]
    """The version that each alias points to."""


@dataclass(frozen=True, slots=True)
class ComponentHealth:
    """How one part of the service is."""

    component: Component
    state: HealthState
    latency: float
    """How long the check took, in seconds."""
    message: str
    """What is wrong; empty when healthy."""


@dataclass(frozen=True, slots=True)
class Health:
    """How the service is."""

    state: HealthState
    """HEALTHY if every component is."""
    components: tuple[ComponentHealth, ...]


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Limits that a caller may want to know before it meets them."""

    max_request_bytes: int
    """The largest request message, in bytes."""
    max_page_bytes: int
    """How large a page of a list may become, in bytes."""
    max_metrics_per_request: int
    max_params_per_request: int
    max_tags_per_request: int
    max_concurrent_store_calls: int
    """How many calls use the stores at one time."""
    max_waiting_store_calls: int
    """How many more calls may wait for the stores."""


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """The configuration of the server, with secrets redacted."""

    address: str
    backend_store_uri: str
    registry_store_uri: str
    default_artifact_root: str
    """Empty where another MLflow server decides."""
    artifacts_destination: str
    start_time: int | None
    """In milliseconds since the epoch."""
    limits: ServerLimits
    features: tuple[str, ...]
    """The full names of the gRPC services that the server offers, sorted."""


@dataclass(frozen=True, slots=True)
class Version:
    """The versions of the server and of what it is built on."""

    server_version: str
    """Of mlflow-grpc-server, such as `0.1.0`."""
    api_version: str
    """`mlflow_grpc.v1`."""
    mlflow_version: str
    python_version: str


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file or folder among the artifacts of a run or model."""

    path: str
    is_dir: bool
    file_size: int | None
    """In bytes; None for a folder."""
    sha256: str = ""
    """Of a file that was logged, 64 hexadecimal digits; empty in lists."""


@dataclass(frozen=True, slots=True)
class ComparedText:
    """A param or tag of several runs."""

    key: str
    values: dict[str, str]
    """By run id; a run without it is absent."""
    agrees: bool
    """Whether every run has it, with the same value."""


@dataclass(frozen=True, slots=True)
class MetricSummary:
    """What one run measured of a metric."""

    last: float
    min: float
    max: float
    best: float | None
    """`min` or `max`; None if neither is known to be better."""
    points: int


@dataclass(frozen=True, slots=True)
class ComparedMetric:
    """A metric of several runs."""

    key: str
    summaries: dict[str, MetricSummary]
    """By run id; a run without it is absent."""
    agrees: bool
    """Whether every run has it, with the same last value."""
    goal: MetricGoal | None
    best_run_id: str | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs side by side, in the order asked for; everything else is by key."""

    runs: tuple[RunInfo, ...]
    params: tuple[ComparedText, ...]
    tags: tuple[ComparedText, ...]
    metrics: tuple[ComparedMetric, ...]
