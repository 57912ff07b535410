"""Figures, images, dicts and text as files: what MLflow's client makes of them, ours does too."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import plotly.graph_objects
import pytest
import yaml
from matplotlib.figure import Figure
from mlflow import MlflowClient
from PIL import Image

from tests import artifacts
from tests.conftest import Served
from tests.unit.client.driver import Driver


@dataclass(frozen=True)
class Beside:
    """A run whose files both clients write, each in a folder of its own."""

    run_id: str
    folder: Path
    mlflow: MlflowClient
    driver: Driver

    async def log(self, method: str, thing: Any, name: str, **options: Any) -> None:
        stored = await self.driver.call(method, self.run_id, thing, f"ours/{name}", **options)
        assert (stored.path, stored.sha256) == (
            f"ours/{name}",
            artifacts.sha256(self.content("ours", name)),
        )
        getattr(self.mlflow, method)(self.run_id, thing, f"theirs/{name}", **options)

    def content(self, whose: str, name: str) -> bytes:
        return artifacts.content(self.folder / self.run_id / "artifacts" / whose / name)

    def same(self, name: str) -> bool:
        return self.content("ours", name) == self.content("theirs", name)


@pytest.fixture(params=["sync", "aio"])
async def beside(served: Served, tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    theirs = MlflowClient(served.backend_store_uri)
    experiment_id = theirs.create_experiment(f"{tmp_path}", tmp_path.as_uri())
    run_id = theirs.create_run(experiment_id).info.run_id
    driver = Driver(request.param, served.address)
    yield Beside(run_id, tmp_path, theirs, driver)
    await driver.close()


def figure() -> Figure:
    made = Figure()
    made.subplots().plot([1, 2, 4])
    return made


async def test_figures_of_matplotlib(beside: Beside) -> None:
    await beside.log("log_figure", figure(), "plain.png")
    await beside.log("log_figure", figure(), "fine.png", save_kwargs={"dpi": 200})
    await beside.log("log_figure", figure(), "deep/photo.jpg")
    assert beside.same("plain.png")
    assert beside.same("fine.png")
    assert beside.same("deep/photo.jpg")
    for name, start in (("f.svg", b"<?xml"), ("f.pdf", b"%PDF"), ("no extension", b"\x89PNG")):
        await beside.driver.call("log_figure", beside.run_id, figure(), f"ours/{name}")
        assert beside.content("ours", name).startswith(start)


async def test_figures_of_plotly(beside: Beside) -> None:
    made = plotly.graph_objects.Figure(plotly.graph_objects.Bar(y=[1, 3, 2]))
    await beside.log("log_figure", made, "bars.html", save_kwargs={"div_id": "bars"})
    await beside.log(
        "log_figure", made, "alone.html", save_kwargs={"div_id": "b", "include_plotlyjs": False}
    )
    assert beside.same("bars.html")
    assert beside.same("alone.html")
    # The script comes from where it is published, so that a figure is a few kilobytes.
    assert len(beside.content("ours", "bars.html")) < 50_000


class Drawing:
    """As plotly's figures, which need a browser for pictures."""

    def to_image(self, format: str, scale: int = 1) -> bytes:
        return f"{format} {scale}".encode()


async def test_pictures_of_plotly(beside: Beside) -> None:
    for name, options, content in (
        ("a.svg", None, b"svg 1"),
        ("b.webp", {"scale": 3}, b"webp 3"),
    ):
        await beside.driver.call(
            "log_figure", beside.run_id, Drawing(), f"ours/{name}", save_kwargs=options
        )
        assert beside.content("ours", name) == content
    with pytest.raises(TypeError, match="no figure"):
        await beside.driver.call("log_figure", beside.run_id, object(), "ours/x.png")


async def test_images(beside: Beside) -> None:
    colours = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    for name, image in (
        ("array.png", colours),
        ("grey.png", colours[:, :, 0]),
        ("column.png", colours[:, :, :1]),
        ("mask.png", colours[:, :, 0] > 20),
        ("pillow.bmp", Image.fromarray(colours)),
        ("mlflow.png", mlflow.Image(colours)),
    ):
        await beside.log("log_image", image, name)
        assert beside.same(name)
    await beside.driver.call(
        "log_image", beside.run_id, np.linspace(0, 1, 12).reshape(3, 4), "ours/float.png"
    )
    read = Image.open(io.BytesIO(beside.content("ours", "float.png")))
    assert np.asarray(read).tolist() == np.round(np.linspace(0, 255, 12)).reshape(3, 4).tolist()
    for bad in (np.array([[300]]), np.array([[-1]]), np.array([[np.nan]])):
        with pytest.raises(ValueError, match="from 0 to"):
            await beside.driver.call("log_image", beside.run_id, bad, "ours/x.png")
    with pytest.raises(TypeError, match="no image"):
        await beside.driver.call("log_image", beside.run_id, "x", "ours/x.png")


async def test_floats_beyond_the_range_are_scaled(beside: Beside) -> None:
    """With a warning, as MLflow does it: a training goes on."""
    with pytest.warns(UserWarning, match="scaled"):
        await beside.driver.call("log_image", beside.run_id, np.array([[1.0, 3.0]]), "ours/x.png")
    read = Image.open(io.BytesIO(beside.content("ours", "x.png")))
    assert np.asarray(read).tolist() == [[0, 255]]


async def test_images_of_steps(beside: Beside) -> None:
    """A key and a step: the files and the tag by which MLflow's UI finds them."""
    image = Image.new("RGB", (600, 300), "red")
    for key, options in (
        ("dogs/val", {"step": 3, "timestamp": 17}),
        ("dogs/val", {"step": 4, "timestamp": 18}),
        ("cats", {}),
    ):
        await beside.driver.call("log_image", beside.run_id, image, key=key, **options)
    folder = beside.folder / beside.run_id / "artifacts"
    ours = artifacts.files_below(folder)
    assert beside.mlflow.get_run(beside.run_id).data.tags["mlflow.loggedImages"] == "True"
    sizes = {name: Image.open(io.BytesIO(data)).size for name, data in ours.items()}
    assert sorted(sizes.values()) == [(256, 128)] * 3 + [(600, 300)] * 3
    beside.mlflow.log_image(beside.run_id, image, key="dogs/val", step=3, timestamp=17)
    theirs = set(artifacts.files_below(folder)) - set(ours)
    uuid = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
    assert {uuid.sub("", name) for name in theirs} == {
        uuid.sub("", name) for name in ours if "+step+3+timestamp+17+" in name
    }
    assert [name for name in ours if name.startswith("images/cats+step+0+timestamp+1")]
    for options in ({}, {"artifact_file": "x.png", "key": "k"}, {"artifact_file": "x", "step": 1}):
        with pytest.raises(TypeError, match="artifact_file"):
            await beside.driver.call("log_image", beside.run_id, image, **options)
    with pytest.raises(ValueError, match="key"):
        await beside.driver.call("log_image", beside.run_id, image, key="a*b")


async def test_dicts_and_text(beside: Beside) -> None:
    for thing, name in (
        ({"b": [1, 2.5], "a": {"c": None}}, "d.json"),
        ([1, "ü", {"x": Path("p")}], "list.json"),
        ({"a": 1}, "none"),
        ({"a": [1, 2], "b": {"c": "text"}}, "d.yaml"),
        ({"a": []}, "d.yml"),
    ):
        await beside.log("log_dict", thing, name)
        if not name.startswith("d.y"):
            assert beside.same(name)
    for name in ("d.yaml", "d.yml"):
        assert yaml.safe_load(beside.content("ours", name)) == yaml.safe_load(
            beside.content("theirs", name)
        )
    for text, name in (("", "empty"), ("ü\r\n日本\n", "t.txt"), ("a/b", "deep/er/t.md")):
        await beside.log("log_text", text, name)
        assert beside.content("ours", name) == text.encode()
    assert json.loads(beside.content("ours", "list.json"))[2] == {"x": "p"}


def test_no_library_is_imported_for_what_is_none_of_it(served: Served, tmp_path: Path) -> None:
    """Text and dicts need neither matplotlib nor Pillow, numpy or YAML."""
    program = (
        "import sys\n"
        "from mlflow_grpc import Client\n"
        "with Client(sys.argv[1]) as client, client.start_run() as run:\n"
        "    run.log_text('x', 't')\n"
        "    run.log_dict({'a': 1}, 'd.json')\n"
        "    run.log_artifact(__file__)\n"
        "print({'matplotlib', 'plotly', 'PIL', 'numpy', 'pandas', 'yaml', 'rich', 'mlflow'}"
        " & set(sys.modules))\n"
    )
    script = tmp_path / "program.py"
    script.write_text(program)
    done = subprocess.run(
        [sys.executable, str(script), served.address], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("set()\n", "")
