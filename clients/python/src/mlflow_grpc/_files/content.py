"""Objects of other libraries as the content of files. None of those libraries is needed."""

from __future__ import annotations

import io
import json
import math
import re
import time
import uuid
import warnings
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

_KEY = re.compile(r"[A-Za-z0-9_\-./ ]+")
_STEP_PIXELS = 256


def of_text(text: str) -> bytes:
    """Text, in UTF-8."""
    return text.encode()


def of_dict(dictionary: Any, artifact_file: str) -> bytes:
    """A dict or list as YAML if the file's name says so, which needs PyYAML, else as JSON."""
    if _extension(artifact_file) in ("yml", "yaml"):
        import yaml  # type: ignore[import-untyped, unused-ignore]

        text: str = yaml.safe_dump(dictionary, sort_keys=False, allow_unicode=True)
        return text.encode()
    return json.dumps(dictionary, indent=2, default=str).encode()


def of_figure(figure: Any, artifact_file: str, save_kwargs: Mapping[str, Any] | None) -> bytes:
    """A figure of matplotlib or plotly, in the format that the file's name says."""
    extension = _extension(artifact_file)
    options = dict(save_kwargs or {})
    buffer = io.BytesIO()
    if hasattr(figure, "savefig"):
        figure.savefig(buffer, **{"format": extension or "png", **options})
        return buffer.getvalue()
    if extension in ("html", "htm") and hasattr(figure, "to_html"):
        options = {"include_plotlyjs": "cdn", "auto_open": False, **options}
        options.pop("auto_open")
        text: str = figure.to_html(**options)
        return text.encode()
    if hasattr(figure, "to_image"):
        image: bytes = figure.to_image(**{"format": extension or "png", **options})
        return image
    raise TypeError(f"{type(figure).__name__} is no figure of matplotlib or plotly")


def of_image(
    image: Any, artifact_file: str | None, key: str | None, step: int | None, timestamp: int | None
) -> dict[str, bytes]:
    """An image as a file or, with a key, as the files that MLflow's UI wants of a step's image.

    An image is one of Pillow or MLflow, or an array of (height, width[, 1, 3 or 4]). Numbers of
    an array are 0 to 255 if they are whole and 0 to 1 if they are not. An array needs Pillow and
    numpy.
    """
    if key is None and (artifact_file is None or step is not None or timestamp is not None):
        raise TypeError("an image needs artifact_file, or key and perhaps step and timestamp")
    if key is not None and artifact_file is not None:
        raise TypeError("an image has artifact_file or key, and not both")
    if key is not None and not _KEY.fullmatch(key):
        raise ValueError("key may have letters, digits, spaces and _-./ only")
    if hasattr(image, "to_pil"):
        image = image.to_pil()
    elif hasattr(image, "__array__") and not hasattr(image, "save"):
        image = _pillow_image(image)
    if not hasattr(image, "save"):
        raise TypeError(f"{type(image).__name__} is no image of Pillow and no array")
    if key is None:
        assert artifact_file is not None
        return {artifact_file: _saved(image, _extension(artifact_file) or "png")}
    when = time.time_ns() // 1_000_000 if timestamp is None else timestamp
    name = f"images/{key.replace('/', '~')}+step+{step or 0}+timestamp+{when}+{uuid.uuid4()}"
    small = _STEP_PIXELS / max(image.size)
    shape = [max(1, int(length * small)) for length in image.size]
    return {
        f"{name}.png": _saved(image, "png"),
        f"{name}+compressed.webp": _saved(image.resize(shape), "webp"),
    }


def _saved(image: Any, extension: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format={"jpg": "jpeg", "tif": "tiff"}.get(extension, extension))
    return buffer.getvalue()


def _pillow_image(array: Any) -> Any:
    import numpy
    from PIL import Image

    pixels = numpy.asarray(array)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.dtype.kind == "f":
        pixels = numpy.round(_in_range(pixels) * 255)
    elif pixels.dtype.kind == "b":
        pixels = pixels * 255
    elif pixels.size and not (pixels.min() >= 0 and pixels.max() <= 255):
        raise ValueError("an image of whole numbers has values from 0 to 255")
    return Image.fromarray(pixels.astype(numpy.uint8))


def _in_range(pixels: Any) -> Any:
    if not pixels.size or (pixels.min() >= 0 and pixels.max() <= 1):
        return pixels
    low, span = pixels.min(), pixels.max() - pixels.min()
    if not 0 < span < math.inf:
        raise ValueError("an image of floats has values from 0 to 1")
    warnings.warn("floats beyond 0 to 1 in an image are scaled to that range", stacklevel=2)
    return (pixels - low) / span


def _extension(artifact_file: str) -> str:
    return PurePosixPath(artifact_file).suffix.lstrip(".").lower()
