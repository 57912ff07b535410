"""Both clients, every method, against a real server over SQLite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import nullcontext
from typing import Any

import pytest

from mlflow_grpc import (
    AlreadyExistsError,
    AsyncClient,
    Dataset,
    DatasetInput,
    FailedPreconditionError,
    HealthState,
    InvalidArgumentError,
    LifecycleStage,
    Metric,
    ModelVersionStage,
    NotFoundError,
    RunStatus,
)
from tests.conftest import Served
from tests.unit.client.driver import Driver


@pytest.fixture(params=["sync", "aio"])
async def driver(request: pytest.FixtureRequest, served: Served) -> AsyncIterator[Driver]:
    driver = Driver(request.param, served.address)
    yield driver
    await driver.close()


@pytest.fixture
async def experiment_id(driver: Driver, unique: str) -> str:
    created = await driver.call("create_experiment", unique)
    assert isinstance(created, str)
    return created


@pytest.fixture
async def run_id(driver: Driver, experiment_id: str) -> str:
    run = await driver.call("create_run", experiment_id)
    assert isinstance(run.info.run_id, str)
    return run.info.run_id


async def test_status(driver: Driver) -> None:
    await driver.call("wait_until_ready")
    health = await driver.call("get_health")
    assert health.state is HealthState.HEALTHY
    assert len(health.components) == 4
    info = await driver.call("get_server_info")
    assert "mlflow_grpc.v1.RunService" in info.features
    assert (info.limits.max_metrics_per_request, info.limits.max_params_per_request) == (1000, 100)
    assert (await driver.call("get_version")).api_version == "mlflow_grpc.v1"


async def test_experiments(driver: Driver, unique: str) -> None:
    experiment_id = await driver.call(
        "create_experiment", unique, tags={"team": "a"}, description="first"
    )
    with pytest.raises(AlreadyExistsError):
        await driver.call("create_experiment", unique)

    experiment = await driver.call("get_experiment", experiment_id)
    assert experiment == await driver.call("get_experiment_by_name", unique)
    assert (experiment.name, experiment.description) == (unique, "first")
    assert experiment.tags["team"] == "a"
    assert experiment.creation_time is not None
    assert await driver.call("get_experiment_by_name", f"{unique}-") is None

    await driver.call("set_experiment_tag", experiment_id, "n", 5)
    await driver.call("delete_experiment_tag", experiment_id, "team")
    await driver.call("update_experiment", experiment_id, description="second")
    experiment = await driver.call("rename_experiment", experiment_id, f"{unique}-2")
    assert (experiment.name, experiment.description) == (f"{unique}-2", "second")
    assert experiment.tags["n"] == "5"
    assert "team" not in experiment.tags

    await driver.call("delete_experiment", experiment_id)
    with pytest.raises(FailedPreconditionError):
        await driver.call("create_run", experiment_id)
    search = {"filter_string": f"name LIKE '{unique}%'", "page_size": 1}
    assert await driver.call("search_experiments", **search) == []
    (found,) = await driver.call("search_experiments", "deleted_only", **search)
    assert found.lifecycle_stage is LifecycleStage.DELETED
    restored = await driver.call("restore_experiment", experiment_id)
    assert restored.lifecycle_stage is LifecycleStage.ACTIVE


async def test_a_run_is_logged_and_read_back(driver: Driver, run_id: str) -> None:
    used = DatasetInput(Dataset("n", "d", "local", "/data"), {"mlflow.data.context": "training"})
    await driver.call("log_metric", run_id, "loss", 0.5, 1000, 1)
    await driver.call("log_metric", run_id, "loss", 0.25, 2000, 2)
    await driver.call("log_metrics", run_id, {f"m{i}": i for i in range(1001)}, step=3)
    await driver.call("log_metrics", run_id, [Metric("acc", 0.9, 5, 1), Metric("acc", 0.8)])
    await driver.call("log_param", run_id, "lr", 0.1)
    await driver.call("log_params", run_id, {f"p{i}": i for i in range(101)})
    await driver.call("set_tag", run_id, "team", "a")
    await driver.call("set_tags", run_id, {f"t{i}": i for i in range(101)})
    await driver.call("log_batch", run_id, [Metric("b", 1)], {"q": 1}, {"z": 2})
    await driver.call("log_inputs", run_id, [used])
    await driver.call("delete_tag", run_id, "z")

    run = await driver.call("get_run", run_id)
    assert len(run.data.metrics) == 1001 + 3
    assert run.data.latest_metrics["loss"] == Metric("loss", 0.25, 2000, 2)
    assert run.data.metrics["acc"] == 0.9
    assert len(run.data.params) == 101 + 2
    assert (run.data.params["lr"], run.data.tags["t100"]) == ("0.1", "100")
    assert "z" not in run.data.tags
    assert run.inputs.dataset_inputs == (used,)
    history = await driver.call("get_metric_history", run_id, "loss", page_size=1)
    assert history == [Metric("loss", 0.5, 1000, 1), Metric("loss", 0.25, 2000, 2)]

    with pytest.raises(FailedPreconditionError):
        await driver.call("log_param", run_id, "lr", 0.2)
    with pytest.raises(InvalidArgumentError) as caught:
        await driver.call("log_metric", run_id, "bad\tkey", 1)
    assert [violation.field for violation in caught.value.field_violations] == ["metrics[0].key"]
    assert caught.value.request_id


async def test_a_run_ends_and_is_changed(driver: Driver, run_id: str) -> None:
    run = await driver.call("update_run", run_id, name="new", description="text")
    assert (run.info.run_name, run.data.tags["mlflow.note.content"]) == ("new", "text")
    run = await driver.call("end_run", run_id, "FAILED", 4_000_000_000_123)
    assert run.info.status is RunStatus.FAILED
    assert run.info.end_time == 4_000_000_000_123
    await driver.call("set_terminated", run_id)
    assert (await driver.call("get_run", run_id)).info.status is RunStatus.FINISHED

    await driver.call("delete_run", run_id)
    with pytest.raises(FailedPreconditionError):
        await driver.call("log_metric", run_id, "loss", 1)
    restored = await driver.call("restore_run", run_id)
    assert restored.info.lifecycle_stage is LifecycleStage.ACTIVE
    with pytest.raises(NotFoundError) as caught:
        await driver.call("get_run", "f" * 32)
    assert caught.value.reason == "RUN_NOT_FOUND"


async def test_runs_are_searched_page_by_page(driver: Driver, experiment_id: str) -> None:
    for i in range(5):
        await driver.call("create_run", experiment_id, run_name=f"r{i}", start_time=1000 + i)
    names = ["r0", "r1", "r2", "r3", "r4"]
    arguments = {"order_by": ["attributes.start_time ASC"], "page_size": 2}
    runs = await driver.call("search_runs", experiment_id, **arguments)
    assert [run.info.run_name for run in runs] == names
    runs = await driver.call("search_runs", [experiment_id], max_results=3, **arguments)
    assert [run.info.run_name for run in runs] == names[:3]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, RunStatus.FINISHED),
        (ZeroDivisionError(), RunStatus.FAILED),
        (KeyboardInterrupt(), RunStatus.KILLED),
    ],
    ids=repr,
)
async def test_a_block_ends_its_run(
    error: BaseException | None, status: RunStatus, driver: Driver, unique: str
) -> None:
    client: Any = driver.client
    seen: list[str] = []
    with nullcontext() if error is None else pytest.raises(type(error)):
        if driver.kind == "sync":
            with client.start_run(experiment_name=unique) as run:
                seen.append(run.run_id)
                run.log_metric("loss", 0.5)
                if error is not None:
                    raise error
        else:
            async with client.start_run(experiment_name=unique) as run:
                seen.append(run.run_id)
                await run.log_metric("loss", 0.5)
                if error is not None:
                    raise error
    stored = await driver.call("get_run", seen[0])
    assert stored.info.status is status
    assert stored.data.metrics == {"loss": 0.5}


async def test_trainers_of_one_job_share_its_experiment(served: Served, unique: str) -> None:
    async with AsyncClient(served.address) as client:
        runs = await asyncio.gather(*(client.start_run(experiment_name=unique) for _ in range(4)))
        assert len({run.info.experiment_id for run in runs}) == 1


async def test_the_registry(driver: Driver, run_id: str, unique: str) -> None:
    await driver.call("create_registered_model", unique, {"a": 1}, "text")
    with pytest.raises(AlreadyExistsError):
        await driver.call("create_registered_model", unique)
    version = await driver.call(
        "register_model", unique, "s3://bucket/model", run_id, {"b": 2}, description="one"
    )
    assert (version.version, version.run_id, version.tags) == ("1", run_id, {"b": "2"})
    await driver.call("register_model", unique, "s3://bucket/model")

    await driver.call("set_registered_model_alias", unique, "champion", 1)
    by_alias = await driver.call("get_model_version_by_alias", unique, "champion")
    assert by_alias.aliases == ("champion",)
    moved = await driver.call("transition_model_version_stage", unique, 1, "staging")
    assert moved.current_stage is ModelVersionStage.STAGING
    await driver.call("set_model_version_tag", unique, 1, "c", 3)
    await driver.call("delete_model_version_tag", unique, 1, "b")
    await driver.call("update_model_version", unique, 1, "two")
    version = await driver.call("get_model_version", unique, 1)
    assert (version.tags, version.description) == ({"c": "3"}, "two")
    copy = await driver.call("copy_model_version", unique, 1, f"{unique}-copy")
    assert (copy.source, copy.tags) == (f"models:/{unique}/1", {"c": "3"})

    await driver.call("set_registered_model_tag", unique, "d", 4)
    await driver.call("delete_registered_model_tag", unique, "a")
    await driver.call("update_registered_model", unique, "more")
    model = await driver.call("get_registered_model", unique)
    assert (model.tags, model.description) == ({"d": "4"}, "more")
    assert model.aliases == {"champion": "1"}
    await driver.call("delete_registered_model_alias", unique, "champion")

    versions = await driver.call("search_model_versions", name=unique, page_size=1)
    assert {version.version for version in versions} == {"1", "2"}
    await driver.call("delete_model_version", unique, 2)
    await driver.call("rename_registered_model", unique, f"{unique}-new")
    search = {"filter_string": f"name LIKE '{unique}%'", "page_size": 1}
    models = await driver.call("search_registered_models", **search)
    assert [model.name for model in models] == [f"{unique}-copy", f"{unique}-new"]
    await driver.call("delete_registered_model", f"{unique}-new")
    with pytest.raises(NotFoundError):
        await driver.call("get_registered_model", f"{unique}-new")
