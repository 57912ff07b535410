"""Artifacts in a store that speaks S3: moto's server, in this process."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import grpc
import pytest
from moto.server import ThreadedMotoServer

from mlflow_grpc import (
    Client,
    ClientConfig,
    NotFoundError,
    ResourceExhaustedError,
    UnavailableError,
)
from tests import artifacts
from tests.artifacts import pieces, wait_for, whole
from tests.rpc import describe
from tests.servers import ServerProcess

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


ODD_KEYS = ["a#b", "%41", "a\\b", "tab\there", "\x1bred", " lead", "trail ", "x?y;z", "aux", "c:"]
# No path leads there: each would be listed as another.
UNREACHABLE = ["a//b", "/top", "./dot", "up/../x", "../y", "deep/", "deep//"]


def test_keys_that_others_stored(bucket: Any, tmp_path: Path) -> None:
    arguments = ("--artifacts-destination", "s3://artifacts/top")
    with ServerProcess(tmp_path, *arguments) as server, Client(server.address) as client:
        run = client.start_run()
        prefix = f"top/0/{run.run_id}/artifacts"
        files = {path: path.encode() for key in ODD_KEYS for path in (key, f"in-{key}/{key}")}
        # A key may go on where another one ends.
        files["both/below"] = b"both/below"
        for path in [*files, *UNREACHABLE, "both"]:
            bucket.put_object(Key=f"{prefix}/{path}", Body=path.encode())
        listed = [one.path for one in run.list_artifacts(recursive=True) if not one.is_dir]
        assert sorted(listed) == sorted([*files, "both"])
        for path in [*files, "both"]:
            content = client.read_artifact(run.run_id, path)
            assert content == files.get(path, b"both")
        place = run.download_artifacts("in-%41", tmp_path / "one")
        assert artifacts.files_below(place) == {"%41": b"in-%41/%41"}
        bucket.Object(f"{prefix}/both").delete()
        place = run.download_artifacts(dst_path=tmp_path / "all")
        assert artifacts.files_below(place) == files


def test_files_in_s3(moto: ThreadedMotoServer, bucket: Any, tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    for name, size in (("empty", 0), ("a.txt", 5), ("deep/large.bin", 9 * 2**20 + 1)):
        (folder / name).write_bytes(os.urandom(size))
    want = artifacts.files_below(folder)
    arguments = (
        *("--artifacts-destination", "s3://artifacts/top"),
        *("--artifacts-staging", str(staging)),
        *("--artifacts-staging-bytes", str(20 * 2**20)),
    )
    with ServerProcess(tmp_path, *arguments) as server, Client(server.address) as client:
        run = client.start_run()
        stored = run.log_artifacts(folder)
        assert {one.path: one.sha256 for one in stored} == {
            path: artifacts.sha256(data) for path, data in want.items()
        }
        prefix = f"top/0/{run.run_id}/artifacts/"
        kept = {
            one.key.removeprefix(prefix): one.get()["Body"].read() for one in bucket.objects.all()
        }
        assert kept == want
        listed = [(one.path, one.file_size) for one in run.list_artifacts(recursive=True)]
        assert listed == [
            ("a.txt", 5),
            ("deep", None),
            ("deep/large.bin", 9 * 2**20 + 1),
            ("empty", 0),
        ]
        place = run.download_artifacts(dst_path=tmp_path / "out")
        assert artifacts.files_below(place) == want
        assert client.read_artifact(run.run_id, "a.txt", 1, 3) == want["a.txt"][1:4]
        for path in ("absent", "deep/absent", "deep/large"):
            with pytest.raises(NotFoundError):
                client.read_artifact(run.run_id, path)
        with grpc.insecure_channel(server.address) as channel:
            stub = artifacts.stub(channel)
            bad = pieces("bad", b"x" * 100, 10)
            bad[3].data = b"y" * 10
            with pytest.raises(grpc.RpcError) as caught:
                artifacts.log(stub, run.run_id, whole("good", b"1"), *bad)
            assert describe(caught.value).code is grpc.StatusCode.DATA_LOSS
        assert {one.path for one in run.list_artifacts()} == {"a.txt", "deep", "empty", "good"}
        too_large = tmp_path / "too-large"
        too_large.write_bytes(bytes(21 * 2**20))
        with pytest.raises(ResourceExhaustedError) as full:
            run.log_artifact(too_large)
        assert full.value.reason == "NO_SPACE"
        assert list(staging.iterdir()) == []

        moto.stop()
        once = Client(server.address, config=ClientConfig(retry_attempts=1))
        with once, pytest.raises(UnavailableError) as gone:
            once.read_artifact(run.run_id, "a.txt")
        assert gone.value.reason == "ARTIFACT_STORE_UNAVAILABLE"
    assert "hunter2" not in server.log.read_text()


def test_a_copy_that_a_killed_server_left_is_swept(bucket: Any, tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    arguments = (
        *("--artifacts-destination", "s3://artifacts/top"),
        *("--artifacts-staging", str(staging)),
        *("--upload-retention", "0.2"),
    )
    with ServerProcess(tmp_path, *arguments) as server, Client(server.address) as client:
        run_id = client.create_run("0").info.run_id
        key = f"top/0/{run_id}/artifacts/large"
        bucket.put_object(Key=key, Body=bytes(128 * 2**20))
        with grpc.insecure_channel(server.address) as channel:
            request = artifacts.pb.DownloadArtifactRequest(run_id=run_id, paths=["large"])
            call = artifacts.stub(channel).DownloadArtifact(request)
            wait_for(lambda: any(one.stat().st_size for one in staging.glob("*.tmp.*")))
            server.signal(signal.SIGKILL)
            server.wait()
            assert call.code() is grpc.StatusCode.UNAVAILABLE
    assert list(staging.glob("*.tmp.*"))
    with ServerProcess(tmp_path, *arguments):
        wait_for(lambda: list(staging.iterdir()) == [])
