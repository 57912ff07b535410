"""The server's garbage collector: at rest while it starts, and at work afterwards."""

from __future__ import annotations

import gc
import weakref

from mlflow_grpc_server.memory import settle_objects, spare_objects


class Knot:
    """An object that only the collector can free."""

    def __init__(self) -> None:
        self.itself = self


def test_what_is_made_after_the_start_is_collected() -> None:
    spare_objects()
    assert not gc.isenabled()
    before = weakref.ref(Knot())
    settle_objects()
    assert gc.isenabled()
    after = weakref.ref(Knot())
    gc.collect()
    assert after() is None
    # Part of what stays to the end.
    assert before() is not None
