"""Watches the stores and tells the standard health service."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum

from grpc_health.v1 import health, health_pb2

__all__ = ["Component", "Health", "Monitor"]

_CHECK_SECONDS = 5.0

_logger = logging.getLogger(__name__)


class Component(Enum):
    """A part of the service that can fail by itself."""

    TRACKING_STORE = "tracking store"
    MODEL_REGISTRY = "model registry"
    ARTIFACT_STORE = "artifact store"


@dataclass(frozen=True)
class Health:
    """What one check of one component found; `fault` is empty for a healthy one."""

    component: Component
    seconds: float
    fault: str


class Monitor:
    """Checks the stores from time to time, and on request.

    A service is NOT_SERVING while the store it needs does not answer.
    """

    def __init__(
        self,
        probes: Mapping[Component, Callable[[], None]],
        servicer: health.aio.HealthServicer,
        needs: Mapping[str, Component | None],
        interval: float,
    ) -> None:
        self._probes = probes
        self._servicer = servicer
        self._needs = needs
        self._interval = interval
        self._executor = ThreadPoolExecutor(len(probes), thread_name_prefix="health")
        self._checks: dict[Component, asyncio.Task[Health]] = {}
        self._healthy: dict[Component, bool] = {}
        self.draining = False

    async def check_all(self) -> list[Health]:
        """Check every component now, at most once at a time each, and tell the health service."""
        found = list(await asyncio.gather(*(self._check(component) for component in self._probes)))
        await self._publish(found)
        return found

    async def watch(self) -> None:
        """Check until cancelled, more often while a component is unhealthy."""
        while True:
            found = await self.check_all()
            well = not any(one.fault for one in found)
            await asyncio.sleep(self._interval if well else self._interval / 10)

    async def drain(self) -> None:
        """Report NOT_SERVING from now on, whatever the stores do."""
        self.draining = True
        await self._servicer.enter_graceful_shutdown()

    def close(self) -> None:
        """Let go of the threads; a check that hangs is left behind."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _check(self, component: Component) -> Health:
        running = self._checks.get(component)
        if running is None or running.done():
            running = asyncio.create_task(self._probe(component))
            self._checks[component] = running
        try:
            return await asyncio.wait_for(asyncio.shield(running), _CHECK_SECONDS)
        except (TimeoutError, asyncio.TimeoutError):
            return Health(component, _CHECK_SECONDS, f"no answer in {_CHECK_SECONDS:.0f} s")

    async def _probe(self, component: Component) -> Health:
        loop = asyncio.get_running_loop()
        started = time.perf_counter()
        fault = ""
        try:
            await loop.run_in_executor(self._executor, self._probes[component])
        except Exception as error:  # Whatever a driver raises means that its store is down.
            fault = f"{component.value} does not answer ({type(error).__name__})"
        return Health(component, time.perf_counter() - started, fault)

    async def _publish(self, found: list[Health]) -> None:
        for one in found:
            healthy = not one.fault
            if self._healthy.get(one.component, True) != healthy:
                _logger.warning("%s", one.fault or f"{one.component.value} answers again")
            self._healthy[one.component] = healthy
        if self.draining:
            return
        for service, component in self._needs.items():
            serving = component is None or self._healthy.get(component, True)
            await self._servicer.set(
                service,
                health_pb2.HealthCheckResponse.SERVING
                if serving
                else health_pb2.HealthCheckResponse.NOT_SERVING,
            )
