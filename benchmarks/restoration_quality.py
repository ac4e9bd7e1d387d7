"""Measures what restorers do to scans beside PSNR, with limits: `python -m benchmarks.restoration_quality MODEL ...`.

    python -m benchmarks.restoration_quality tat-tiny runs/slab/slab.safetensors --store stores/dose-1 \\
        --store stores/dose-0.25 --scan ct_crlm_1004 --scan pet_sts_001 -o quality.csv

Stores are prepared with one strength each (`--store`, validation records); whole scans of full quality (`--scan`) are
DICOM folders, or files: TASK=FILE for NIfTI, such as pet-denoise=scan.nii.gz. The CSV has a row for each model, check
and scan, the printed table a line for each model and check. Limits are those of `benchmarks.quality.checks`:

* gain: PSNR restored - input, by the papers' protocol, at least -0.05 dB. Without a degradation, change instead: root
  mean square in the body, in percent of the 99.9th percentile for MR, at most the noise of the scan itself.
* mean HU: mean bias over homogeneous blocks of soft tissue (`measures.block_biases`), at most 1 HU.
* total SUV within 0.5 %; SUVmax of hot spots (4 voxels and more above SUV 3), mean change within 5 %, and in scans that
  are not degraded at least -5 %.
* stripes: the step between slices over that within slices, restored / input, 0.9 to 1.1. PET, and scans not degraded.
* noise removed above the range: in an insertion of 6000 HU or 35 SUV, at least half of that around it.
* texture of bone: high-pass standard deviation restored / before in 150 to 700 HU, at full dose, at least 0.8.

Other rows have no limit. Amplitudes kept are those of `benchmarks.good_scans`. The model `input` is the unchanged scan,
for comparison.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.quality.checks import Case, case_of_record, case_of_scan, check
from benchmarks.quality.inserts import VALUES, check_insertion
from benchmarks.quality.rows import Row, show, summary, write
from medley.data.store import Store
from medley.inference.loading import load_restorer
from medley.scoring.methods import Input, Method, Network
from medley.tasks import TASKS


def measure(
    methods: dict[str, Method], stores: Sequence[Path], scans: Sequence[str], records: Sequence[str] = ("",)
) -> list[Row]:
    """The rows of all methods, by their names, on all scans; the names of records contain one of `records`."""
    rows = []
    for model, method in methods.items():
        for task in sorted(VALUES.keys() & set(method.tasks)):
            rows += check_insertion(task, method, model)
    for case in cases(stores, scans, records):
        for model, method in methods.items():
            if case.task in method.tasks:
                print(f"{model}: {case.scan}", flush=True)
                rows += check(case, method, model)
    return rows


def cases(stores: Sequence[Path], scans: Sequence[str], records: Sequence[str] = ("",)) -> Iterator[Case]:
    """Whole scans, then the validation records of the stores."""
    for scan in scans:
        task, _, path = scan.partition("=")
        yield case_of_scan(Path(path), task) if task in TASKS else case_of_scan(Path(scan))
    for folder in stores:
        store = Store(folder)
        for record in store.records("valid"):
            if store.task(record).restores and any(text in record.id for text in records):
                store.verify(record)
                yield case_of_record(store, record)


def names(models: Sequence[str]) -> list[str]:
    """The name of each model in the table: that of its file, with its folder where several files have the same name."""
    paths = [Path(model) for model in models]
    stems = [path.name.removesuffix(".safetensors") for path in paths]
    return [
        f"{path.parent.name}/{stem}" if stems.count(stem) > 1 else stem for path, stem in zip(paths, stems, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="benchmarks.restoration_quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("models", nargs="+", metavar="MODEL", help="packaged names, weights files, or input")
    parser.add_argument("--store", action="append", default=[], type=Path, help="may be given several times")
    parser.add_argument("--scan", action="append", default=[], help="[TASK=]PATH; may be given several times")
    parser.add_argument("--records", nargs="+", default=[""], metavar="TEXT", help="only records with this in the name")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.csv")
    options = parser.parse_args()
    loaded = [Input() if model == Input.name else Network(load_restorer(model)) for model in options.models]
    methods: dict[str, Method] = dict(zip(names(options.models), loaded, strict=True))
    rows = measure(methods, options.store, options.scan, options.records)
    write(rows, options.output)
    show(summary(rows))


if __name__ == "__main__":
    main()
