"""A process that holds one model and answers over sockets that it inherits.

Started as `python -m mlflow_grpc_server.serving.worker OPTIONS`, where OPTIONS is JSON: `path` of
the model, `lanes` (file descriptors, one for each call at a time), `parent` (the server's process
id) and `max_answer` in bytes.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import signal
import socket
import sys
import threading
import traceback
import warnings
from dataclasses import asdict, dataclass
from typing import Any

from mlflow_grpc_server.serving.frames import ClosedError, Kind, pack, receive, send, unpack

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Fault:
    """Why a call was not answered; `kind` is `invalid`, `failed`, `memory`, `large` or
    `not streaming`."""

    kind: str
    message: str
    field: str = ""


_KIND_OF_ANSWER = bytes([Kind.ANSWER])
_NOT_STREAMING = Fault("not streaming", "The model has no predict_stream.")


def main() -> None:
    """Load the model and answer until the server closes the sockets."""
    options = json.loads(sys.argv[1])
    _write_each_line_at_once()
    _die_with(options["parent"])
    lanes = [socket.socket(fileno=descriptor) for descriptor in options["lanes"]]
    try:
        worker = _Worker(options["path"], options["max_answer"])
    except BaseException as error:  # Whatever loading raises, SystemExit included, is told.
        traceback.print_exc()
        send(lanes[0], Kind.LOAD_FAILED, _short(error).encode())
        raise SystemExit(1) from None
    for lane in lanes[1:]:
        threading.Thread(target=worker.serve, args=(lane,), daemon=True).start()
    send(lanes[0], Kind.READY, json.dumps(worker.describe()).encode())
    worker.serve(lanes[0])
    for lane in lanes:
        lane.close()


def _write_each_line_at_once() -> None:
    """Have no line wait in a buffer, as for a pipe it would, and be lost in a crash."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)


def _die_with(parent: int) -> None:
    """End this process when the server's ends, even by SIGKILL, whatever the model does then."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit("the server is gone")


def _have_few_warning_filters() -> None:
    """Replace the filters that imports have added, unless the operator chose some.

    scikit-learn sets up every filter anew for each tree of a forest: half of the time of a
    prediction from one row. It needs one at least; what no filter names is shown once a place.
    """
    if not sys.warnoptions:
        warnings.resetwarnings()
        warnings.simplefilter("ignore", DeprecationWarning)


class _Worker:
    """The model, and how it is asked."""

    def __init__(self, path: str, max_answer: int) -> None:
        os.environ["_MLFLOW_IS_IN_SERVING_ENVIRONMENT"] = "true"
        import mlflow.pyfunc

        # Here, as a worker that cannot load its model need not wait for them.
        from mlflow_grpc_server.serving import batches, payloads

        self._payloads = payloads
        self._batches = batches
        self._max_answer = max_answer
        self._model = mlflow.pyfunc.load_model(path)
        _have_few_warning_filters()
        self._inputs = self._model.metadata.get_input_schema()
        self._outputs = self._model.metadata.get_output_schema()
        self._rows_are_independent = self._model.loader_module == "mlflow.sklearn" and (
            batches.rows_are_independent(self._model.get_raw_model())
        )

    def describe(self) -> dict[str, Any]:
        """Return the model's inputs and outputs."""
        infos = self._payloads.tensor_infos
        return {
            "inputs": [[*vars(info).values()] for info in infos(self._inputs, "input")],
            "outputs": [[*vars(info).values()] for info in infos(self._outputs, "predictions")],
            "rows_are_independent": self._rows_are_independent,
        }

    def serve(self, lane: socket.socket) -> None:
        """Answer one call after the other until the server closes the socket."""
        try:
            while True:
                kind, payload = receive(lane)
                self._answer(lane, kind, payload)
        except ClosedError:
            return

    def _answer(self, lane: socket.socket, kind: Kind, payload: bytes) -> None:
        try:
            if kind is Kind.PREDICT:
                send(lane, Kind.ANSWER, self._predict(payload))
            elif kind is Kind.PREDICT_MANY:
                send(lane, Kind.ANSWER_MANY, pack(self._predict_many(list(unpack(payload)))))
            elif kind is Kind.STREAM:
                self._stream(lane, payload)
        except ClosedError:
            raise
        except BaseException as error:  # Whatever a model raises fails its call alone.
            _refuse(lane, _fault(error))

    def _predict(self, payload: bytes) -> bytes:
        question = self._question(payload)
        predictions = self._model.predict(question.data, params=question.params)
        return self._encoded(predictions, question)

    def _question(self, payload: bytes) -> Any:
        from mlflow_grpc.v1.model_serving_service_pb2 import PredictRequest

        request = PredictRequest.FromString(payload)
        return self._payloads.parse_request(request, self._model.metadata, self._inputs)

    def _encoded(self, predictions: Any, question: Any) -> bytes:
        return self._checked(self._payloads.encode_answer(predictions, question, self._outputs))

    def _predict_many(self, payloads: list[bytes]) -> list[bytes]:
        """Return the answers of the model asked once; asked one by one if that does not work."""
        if len(payloads) == 1:
            return [self._predict_alone(payloads[0])]
        try:
            return [_KIND_OF_ANSWER + answer for answer in self._predict_together(payloads)]
        except Exception:  # Which call is at fault shows when each is made alone.
            return [self._predict_alone(payload) for payload in payloads]

    def _predict_together(self, payloads: list[bytes]) -> list[bytes]:
        questions = [self._question(payload) for payload in payloads]
        rows = self._batches.joined(questions, numbers_only=self._rows_are_independent)
        if rows is None:
            raise ValueError("these calls cannot be made as one")
        parts = self._batches.split(self._model.predict(rows), questions)
        if parts is None:
            raise ValueError("the answer has no part for each call")
        return [self._encoded(*each) for each in zip(parts, questions, strict=True)]

    def _predict_alone(self, payload: bytes) -> bytes:
        try:
            return _KIND_OF_ANSWER + self._predict(payload)
        except BaseException as error:  # Whatever a model raises fails its call alone.
            return bytes([Kind.FAILED]) + json.dumps(asdict(_fault(error))).encode()

    def _stream(self, lane: socket.socket, payload: bytes) -> None:
        from mlflow_grpc._structs import from_struct
        from mlflow_grpc.v1.model_serving_service_pb2 import PredictStreamRequest

        parsed = from_struct(PredictStreamRequest.FromString(payload).json)
        question = self._payloads.parse_json(parsed, self._model.metadata, self._inputs)
        if self._model._predict_stream_fn is None:
            raise _RefusedError(_NOT_STREAMING)
        items = iter(self._model.predict_stream(question.data, params=question.params))
        try:
            while receive(lane)[0] is Kind.NEXT:
                try:
                    item = next(items)
                except StopIteration:
                    break
                except NotImplementedError:
                    raise _RefusedError(_NOT_STREAMING) from None
                send(lane, Kind.ITEM, self._checked(self._payloads.encode_item(item)))
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()
        send(lane, Kind.END)

    def _checked(self, answer: bytes) -> bytes:
        if len(answer) > self._max_answer:
            message = f"The answer has {len(answer):,} bytes, and {self._max_answer:,} are allowed."
            raise _RefusedError(Fault("large", message))
        return answer


class _RefusedError(Exception):
    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def _fault(error: BaseException) -> Fault:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import BAD_REQUEST, INVALID_PARAMETER_VALUE, ErrorCode

    from mlflow_grpc_server.exceptions import InvalidFieldError

    if isinstance(error, _RefusedError):
        return error.fault
    if isinstance(error, InvalidFieldError):
        field = error.fields[0]
        return Fault("invalid", error.message.removeprefix(f"{field}: "), field)
    if isinstance(error, MemoryError):
        traceback.print_exc()
        return Fault("memory", "The model ran out of memory.")
    if isinstance(error, MlflowException) and error.error_code in (
        ErrorCode.Name(BAD_REQUEST),
        ErrorCode.Name(INVALID_PARAMETER_VALUE),
    ):
        # MLflow puts the whole input before the cause of a breach of the schema.
        _, enforcing, _ = error.message.partition("Failed to enforce schema of data ")
        cause = error.__cause__ or error.__context__
        if enforcing and cause is not None:
            return Fault("invalid", f"Failed to enforce the model's schema: {cause}")
        return Fault("invalid", error.message)
    traceback.print_exception(error)
    return Fault("failed", f"The model raised {_short(error)}")


def _refuse(lane: socket.socket, fault: Fault) -> None:
    send(lane, Kind.FAILED, json.dumps(asdict(fault)).encode())


def _short(error: BaseException) -> str:
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:  # The exception is the model's, and so is its text.
        text = type(error).__name__
    # It may have the name of a file that is no text.
    return text[:2000].encode(errors="backslashreplace").decode()


if __name__ == "__main__":
    main()
