"""Foreign inputs of networks for photographs of skin lesions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from benchmarks.unlike.scans import Foreign
from medley.io.files import find_scans, open_scan
from medley.io.photographs import read_photograph

PICTURES = 8  # of each kind
_SIZE = 256
_EVERYDAY = ("astronaut", "coffee", "chelsea", "rocket", "motorcycle_left", "hubble_deep_field", "retina", "ihc")


def foreign_photographs(skin: list[Path], data: Path, pages: Path, seed: int = 0) -> Iterator[Foreign]:
    """The foreign inputs of a network for photographs of skin lesions.

    Parameters
    ----------
    skin: valid photographs, of which wrong ones are made. data: the folder that holds `restoration` and `more`.
    pages: a folder with pictures of charts and scans. seed: of noise.
    """
    rng = np.random.default_rng(seed)
    yield from _noise(rng)
    yield from _screens(rng)
    for path in sorted(pages.rglob("*.png")):
        with Image.open(path) as image:
            yield Foreign("page with pictures or a chart", path.stem, np.asarray(image.convert("RGB")))
    for kind in ("histology/valid", "ultrasound/valid/images", "xray/valid", "oct/valid"):
        for path in sorted((data / "more" / kind).glob("*.png"))[:PICTURES]:
            with Image.open(path) as image:
                yield Foreign(f"{kind.partition('/')[0]} picture", path.stem, np.asarray(image.convert("RGB")))
    for folder, (low, high) in {"ct/valid": (-160, 240), "mri/valid": (0, 1000)}.items():
        for scan in find_scans(data / "restoration" / folder)[:PICTURES]:
            volume = open_scan(scan).load()
            values = np.asarray(volume.data)[volume.shape[0] // 2]
            grey = (255 * (values - low) / (high - low)).clip(0, 255).astype(np.uint8)
            yield Foreign("slice of a scan", scan.name, np.stack([grey] * 3, axis=-1))
    yield from _everyday()
    for path in skin[:PICTURES]:
        for kind, image in _wrong(read_photograph(path).astype(np.float64)):
            yield Foreign(kind, path.stem, image.clip(0, 255).astype(np.uint8))


def _noise(rng: np.random.Generator) -> Iterator[Foreign]:
    size = (_SIZE, _SIZE, 3)
    yield Foreign("noise", "uniform", rng.integers(0, 256, size).astype(np.uint8))
    yield Foreign("noise", "normal", rng.normal(128, 40, size).clip(0, 255).astype(np.uint8))
    yield Foreign("noise", "grey", np.repeat(rng.integers(0, 256, (_SIZE, _SIZE, 1)), 3, axis=2).astype(np.uint8))
    smooth = ndimage.gaussian_filter(rng.normal(0, 1, size), (8, 8, 0))
    yield Foreign("noise", "smooth", (128 + 40 * smooth / smooth.std()).clip(0, 255).astype(np.uint8))
    for name, colour in {"black": (0, 0, 0), "white": (255, 255, 255), "skin colour": (200, 150, 130)}.items():
        yield Foreign("one colour", name, np.full(size, colour, np.uint8))


def _screens(rng: np.random.Generator) -> Iterator[Foreign]:
    """Drawn screens: windows, lines of text, buttons, light and dark."""
    for k in range(PICTURES):
        dark = bool(k % 2)
        image = Image.new("RGB", (800, 600), (30, 32, 38) if dark else (250, 250, 250))
        draw = ImageDraw.Draw(image)
        draw.rectangle((0, 0, 800, 40), fill=tuple(int(v) for v in rng.integers(40, 220, 3)))
        for row in range(60, 580, 18):
            words = " ".join("abcdefghij"[: int(n)] for n in rng.integers(2, 10, 12))
            draw.text((20 + 30 * int(rng.integers(0, 3)), row), words, fill=(220, 220, 220) if dark else (20, 20, 20))
        for _ in range(4):
            x, y = (int(v) for v in rng.integers(50, 500, 2))
            draw.rectangle((x, y, x + 160, y + 60), fill=tuple(int(v) for v in rng.integers(0, 255, 3)))
        yield Foreign("screenshot", f"screen {k}", np.asarray(image))


def _everyday() -> Iterator[Foreign]:
    """Photographs that scikit-image contains."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    for path in sorted(folder.iterdir()):
        if path.stem in _EVERYDAY and path.suffix in (".png", ".jpg"):
            with Image.open(path) as image:
                yield Foreign("other photograph", path.stem, np.asarray(image.convert("RGB")))


def _wrong(image: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    yield "skin, inverted", 255 - image
    yield "skin, red and blue exchanged", image[..., ::-1]
    yield "skin, a tenth as bright", image / 10
    yield "skin, over-exposed", image * 2.5
    yield "skin, without colour", np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    yield "skin, four levels", np.rint(image / 85) * 85
    yield "skin, noisy (60 grey levels)", image + np.random.default_rng(0).normal(0, 60, image.shape)
    yield "skin, blurred (12 pixels)", ndimage.gaussian_filter(image, (12, 12, 0))
