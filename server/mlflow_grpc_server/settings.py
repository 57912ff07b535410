"""The server's settings."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow_grpc_server.tracking.uris import is_http

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """What an operator can choose. The command line sets each field by the flag of its name."""

    backend_store_uri: str = "sqlite:///mlflow.db"
    """Where experiments and runs are: a database, or an existing MLflow server."""

    registry_store_uri: str | None = None
    """Where registered models are. None: the backend store."""

    default_artifact_root: str | None = None
    """The location that new experiments keep artifacts below. None: `mlflow-artifacts:/`, which
    stands for `artifacts_destination`."""

    artifacts_destination: str = "./mlartifacts"
    """The folder or URI that `mlflow-artifacts:/` stands for."""

    artifacts_staging: str | None = None
    """The folder that files pass through on their way to and from stores that are no folder.
    None: one below the system's folder for temporary files."""

    artifacts_staging_bytes: int = 16 * 2**30
    """How many bytes may be in `artifacts_staging` before RESOURCE_EXHAUSTED."""

    upload_retention: float = 60.0
    """How many seconds a resumable upload that was cut off is kept."""

    host: str = "127.0.0.1"
    """The address to listen on."""

    port: int = 50051
    """The port to listen on; 0 lets the kernel choose."""

    store_threads: int = 10
    """How many calls use the stores at one time."""

    store_queue: int = 1000
    """How many more calls may wait for the stores before RESOURCE_EXHAUSTED."""

    store_retry: float = 60.0
    """How many seconds streamed entries wait for a store that is away before their stream ends."""

    grace_period: float = 30.0
    """How many seconds calls in flight have to end after SIGTERM."""

    health_interval: float = 5.0
    """How many seconds pass between checks of the stores; a tenth of it while one is down."""

    serving_folder: str = "./mlserving"
    """The folder that remembers what is deployed, and holds model files brought from elsewhere."""

    serving_target: str | None = None
    """The URI of an mlflow.deployments target that serves models. None: this machine."""

    serving_queue: int = 1000
    """How many calls may wait for a version of a served model before RESOURCE_EXHAUSTED."""

    serving_poll: float = 5.0
    """How many seconds pass between looks at where followed aliases point."""

    @property
    def registry_uri(self) -> str:
        """Where registered models are."""
        return self.registry_store_uri or self.backend_store_uri

    @property
    def artifact_root(self) -> str:
        """The location that new experiments keep artifacts below; empty where an MLflow server
        behind this one decides."""
        if is_http(self.backend_store_uri):
            return ""
        return self.default_artifact_root or "mlflow-artifacts:/"
