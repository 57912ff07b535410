"""The command `mlflow-grpc-server`."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from typing import Any

import click
import cloup
from cloup import option, option_group

from mlflow_grpc_server import __version__
from mlflow_grpc_server.memory import keep_freed_memory, settle_objects, spare_objects
from mlflow_grpc_server.settings import Settings

__all__ = ["main"]

_DEFAULTS = Settings()
_STOPPING = (signal.SIGTERM, signal.SIGINT)


@cloup.command(
    context_settings={
        "auto_envvar_prefix": "MLFLOW_GRPC",
        "show_default": True,
        "help_option_names": ["-h", "--help"],
    }
)
@option_group(
    "Stores",
    option(
        "--backend-store-uri",
        default=_DEFAULTS.backend_store_uri,
        show_envvar=True,
        help="Experiments and runs: sqlite:///FILE, postgresql://..., mysql+pymysql://..., or "
        "http(s)://... of an existing MLflow server.",
    ),
    option(
        "--registry-store-uri",
        default=None,
        show_envvar=True,
        help="Registered models.  [default: the backend store]",
    ),
)
@option_group(
    "Artifacts",
    option(
        "--default-artifact-root",
        default=None,
        show_envvar=True,
        help="Location that new experiments keep artifacts below.  [default: mlflow-artifacts:/, "
        "which stands for the artifacts destination]",
    ),
    option(
        "--artifacts-destination",
        default=_DEFAULTS.artifacts_destination,
        show_envvar=True,
        help="Folder or URI that mlflow-artifacts:/ stands for.",
    ),
    option(
        "--artifacts-staging",
        default=None,
        show_envvar=True,
        help="Folder that files pass through when artifacts are not in a folder.  "
        "[default: below the system's temporary files]",
    ),
    option(
        "--artifacts-staging-bytes",
        type=click.IntRange(1),
        default=_DEFAULTS.artifacts_staging_bytes,
        show_envvar=True,
        help="Bytes that may be in the staging folder at one time.",
    ),
    option(
        "--upload-retention",
        type=click.FloatRange(0),
        default=_DEFAULTS.upload_retention,
        show_envvar=True,
        help="Seconds that an upload that was cut off can be resumed.",
    ),
)
@option_group(
    "Serving",
    option(
        "--serving-folder",
        default=_DEFAULTS.serving_folder,
        show_envvar=True,
        help="Folder that remembers what is deployed; one server at a time uses it.",
    ),
    option(
        "--serving-target",
        default=None,
        show_envvar=True,
        help="URI of an mlflow.deployments target that serves models.  [default: processes on "
        "this machine]",
    ),
    option(
        "--serving-queue",
        type=click.IntRange(0),
        default=_DEFAULTS.serving_queue,
        show_envvar=True,
        help="Calls that may wait for a version of a served model.",
    ),
    option(
        "--serving-poll",
        type=click.FloatRange(0.1),
        default=_DEFAULTS.serving_poll,
        show_envvar=True,
        help="Seconds between looks at where followed aliases point.",
    ),
)
@option_group(
    "Network",
    option("--host", default=_DEFAULTS.host, show_envvar=True, help="Address to listen on."),
    option(
        "--port",
        type=click.IntRange(0, 65535),
        default=_DEFAULTS.port,
        show_envvar=True,
        help="Port to listen on; 0 lets the kernel choose.",
    ),
)
@option_group(
    "Limits",
    option(
        "--store-threads",
        type=click.IntRange(1, 1000),
        default=_DEFAULTS.store_threads,
        show_envvar=True,
        help="Calls that use the stores at one time.",
    ),
    option(
        "--store-queue",
        type=click.IntRange(0),
        default=_DEFAULTS.store_queue,
        show_envvar=True,
        help="Further calls that may wait for the stores.",
    ),
    option(
        "--store-retry",
        type=click.FloatRange(0),
        default=_DEFAULTS.store_retry,
        show_envvar=True,
        help="Seconds that streamed entries wait for a store that is away.",
    ),
    option(
        "--grace-period",
        type=click.FloatRange(0),
        default=_DEFAULTS.grace_period,
        show_envvar=True,
        help="Seconds that calls in flight have to end after SIGTERM.",
    ),
    option(
        "--health-interval",
        type=click.FloatRange(0.1),
        default=_DEFAULTS.health_interval,
        show_envvar=True,
        help="Seconds between checks of the stores.",
    ),
)
@option_group(
    "Logging",
    option(
        "--debug",
        is_flag=True,
        envvar=["MLFLOW_GRPC_DEBUG", "MLFLOW_DEBUG"],
        show_envvar=True,
        help="Log each call with its request id.",
    ),
)
@cloup.version_option(__version__, prog_name="mlflow-grpc-server")
def main(debug: bool, **chosen: Any) -> None:
    """Serve MLflow over gRPC."""
    _configure_logging(debug=debug)
    keep_freed_memory()
    spare_objects()
    # A server does not report its users' calls to a third party unless told to.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    asyncio.run(_serve(Settings(**chosen)))


def _configure_logging(*, debug: bool) -> None:
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("mlflow_grpc_server").setLevel(logging.DEBUG if debug else logging.INFO)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # MLflow logs each lost connection with the whole statement; the call's own line says it.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


async def _serve(settings: Settings) -> None:
    # Imported here so that --help does not wait for MLflow.
    from mlflow_grpc_server.app import App, PortError
    from mlflow_grpc_server.serving.open import TargetError
    from mlflow_grpc_server.tracking.uris import StoreUriError, redact

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _STOPPING:
        loop.add_signal_handler(number, stop.set)
    try:
        app = App.open(settings)
    except (StoreUriError, TargetError) as error:
        raise click.ClickException(str(error)) from error
    try:
        await app.start()
        settle_objects()
        address = f"{settings.host}:{app.port}"
        click.echo(f"mlflow-grpc-server {__version__} listening on {address}")
        click.echo(f"  tracking store  {redact(settings.backend_store_uri)}")
        click.echo(f"  artifacts       {redact(settings.artifacts_destination)}")
        click.echo(f"  try             grpcurl -plaintext {address} list")
        await stop.wait()
        for number in _STOPPING:
            signal.signal(number, signal.SIG_DFL)
        click.echo("stopping: calls in flight may end; a second signal ends them")
        await app.drain()
    except PortError as error:
        raise click.ClickException(str(error)) from error
    finally:
        await app.close()


if __name__ == "__main__":
    main()
