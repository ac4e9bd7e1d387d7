"""The layouts: how data sets are organised on disk, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from medley.runtime.registry import Registry, resolved


@dataclass(frozen=True)
class Layout:
    """How one kind of data set is organised on disk.

    Attributes
    ----------
    kind: what the data set holds.
        "scans": good scans, which are degraded. `find(source, *, table)` returns `Study` objects.
        "pairs": measured pairs for restoration. `find(source, *, table)` returns `RecordSource` objects, whose data
        name their task.
        "targets": records with other targets. `find(source, *, table, size)` returns their `Task` and a list of
        `RecordSource` objects.
    find: the function, or "module:name" for one that is imported when it is used. `source` is the path of the data set,
        `table` that of a CSV file given by the user or None, `size` the number of pixels or voxels along each axis or
        None. It raises a MedleyError where the data set is not as expected.
    """

    kind: Literal["scans", "pairs", "targets"]
    find: Callable[..., Any] | str

    def __call__(self, source: Any, **options: Any) -> Any:
        """What `find` returns."""
        return resolved(self.find)(source, **options)


LAYOUTS: Registry[Layout] = Registry(
    "layout",
    "a Layout",
    lambda entry: isinstance(entry, Layout),
    {
        "folder": Layout("scans", "medley.data.layouts.folder:studies"),
        "images": Layout("scans", "medley.data.layouts.images:studies"),
        "ixi": Layout("scans", "medley.data.layouts.ixi:studies"),
        "pairs": Layout("pairs", "medley.data.layouts.pairs:records"),
        "amir": Layout("pairs", "medley.data.layouts.amir:records"),
        "ldct": Layout("pairs", "medley.data.layouts.ldct:records"),
        "openkbp": Layout("targets", "medley.data.layouts.openkbp:records"),
        "ham10000": Layout("targets", "medley.data.layouts.ham10000:records"),
        "stoic": Layout("targets", "medley.data.layouts.stoic:records"),
        "dicom_rt": Layout("targets", "medley.data.layouts.dicom_rt:records"),
    },
)
