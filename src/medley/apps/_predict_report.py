"""The prediction report: one HTML file without links that shows the predictions for one scan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from medley.apps._likeness import compared, unlike
from medley.apps._page import figures, fill, minus, table_rows
from medley.apps._predict_numbers import Masks, dose_of
from medley.apps._predict_pictures import Line, histogram, lines_of, photograph, planes, swatch
from medley.apps.listing import score_name, score_text
from medley.inference.predictor import Prediction, Predictor
from medley.volume import Volume

# The columns of the table of structures.
_COLUMNS = {
    "volume_ml": "volume, ml",
    "share": "share of the image, %",
    "D_mean": "mean, Gy",
    "D_0.1cc": "D0.1cc, Gy",
    "D99": "D99, Gy",
    "D95": "D95, Gy",
    "D1": "D1, Gy",
    "dice": "Dice",
}
_PREDICTED = "A neural network predicted all of this from the image. Nobody has checked it."
_NO_PLAN = " The dose is a prediction: no plan was made and no dose was calculated."
_ORIENTATION = (
    "Slices are shown in radiological orientation: the patient's right is on the left of the picture; in sagittal "
    "slices the front is on the left. Volumes and doses are computed on the voxels of the scan."
)


def page(record: Mapping[str, Any], prediction: Prediction, given: Masks, predictor: Predictor) -> str:
    """The page as HTML.

    Parameters
    ----------
    record: the record of `medley.apps.predict.predict_one`; names of files and structures are shown, but nothing about
        the patient.
    given: masks of structures that the user gave, by the names that the network uses.
    """
    lines, name, likeness = lines_of(prediction, given), record["model"]["name"], prediction.likeness
    # What the notice says is not repeated.
    notes = [note for note in record["notes"] if likeness is None or note != likeness.sentence(name)]
    text = {
        "scan": record["name"],
        "kind": "Prediction report",
        "done_by": "predicted by medley",
        "warning": "Not for diagnosis or treatment.",
        "headline": f"{predictor.task.title}, by {name}",
        "notice": _PREDICTED + (_NO_PLAN if dose_of(prediction) is not None else "") + unlike(likeness, name),
    }
    scan, dose = prediction.scan, dose_of(prediction)
    blocks = {
        "figures": figures(_numbers(record)),
        "notes": "".join(f'<p class="soft">{escape(_sentence(note))}</p>' for note in notes),
        "pictures": planes(scan, dose, lines) if isinstance(scan, Volume) else photograph(scan, lines),
        "classes": "".join(_bars(*one) for one in prediction.probabilities.items()),
        "histogram": "" if dose is None or not lines else histogram(dose, lines),
        "structures": _table(record, lines) if (isinstance(scan, Volume) and lines) or len(lines) > 1 else "",
        "done": table_rows(_done(record, prediction)),
        "model": table_rows(_model(predictor, record)),
        "small_print": f"<p>{_ORIENTATION}</p>" if isinstance(scan, Volume) else "",
    }
    return fill("predict.html", text, blocks)


def _numbers(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The numbers at the top of the page."""
    for target, answer in record["answers"].items():
        if "maximum" in answer:
            yield f"{answer['maximum']:.3g} {answer['unit']}", f"maximum {target}"
        elif "probabilities" in answer:
            yield answer["answer"], f"{target}, {100 * answer['probabilities'][answer['answer']]:.0f} %"
        elif len(answer) > 1:
            found = sum(any(numbers.values()) for numbers in answer.values())
            yield f"{found} of {len(answer)}", f"{target}: structures found"
        else:
            for name, numbers in answer.items():
                volume = "volume_ml" in numbers
                size = f"{numbers['volume_ml']:.3g} ml" if volume else f"{100 * numbers['share']:.3g} %"
                yield size, name if volume else f"{name}, share of the image"
    yield f"{record['seconds']:.1f} s", "computing time"


def _bars(target: str, probabilities: Mapping[str, float]) -> str:
    """The probabilities of the classes in descending order."""
    rows = []
    for k, (name, value) in enumerate(sorted(probabilities.items(), key=lambda item: -item[1])):
        kind = ' class="likeliest"' if k == 0 else ""
        rows.append(
            f"<span{kind}>{escape(name.replace('_', ' '))}</span>"
            f'<div><i{kind} style="width: {100 * value:.1f}%"></i></div>'
            f"<span{kind}>{100 * value:.1f} %</span>"
        )
    return f'<h2>{escape(target.capitalize())}</h2>\n<div class="bars">{"".join(rows)}</div>'


def _table(record: Mapping[str, Any], lines: list[Line]) -> str:
    """Volumes and doses of the structures."""
    predicted = {
        name: numbers
        for answer in record["answers"].values()
        if not {"maximum", "probabilities"} & answer.keys()
        for name, numbers in answer.items()
    }
    numbers = {False: predicted, True: record["given"]["structures"]}
    columns = [key for key in _COLUMNS if any(key in numbers[line.given][line.name] for line in lines)]
    head = "".join(f"<th>{_COLUMNS[key]}</th>" for key in columns)
    rows = []
    for line in lines:
        found = numbers[line.given][line.name]
        cells = "".join(f"<td>{_cell(key, found)}</td>" for key in columns)
        name = f"{swatch(line.colour)}{escape(line.name)}" if not line.given else f"{escape(line.name)}, given"
        rows.append(f"<tr{' class=given' if line.given else ''}><th>{name}</th>{cells}</tr>")
    absent = [name for name, found in predicted.items() if not any(found.values())]
    missing = f'<p class="soft small">Not found: {escape(", ".join(absent))}.</p>' if absent else ""
    table = f"<table><tr><th></th>{head}</tr>{''.join(rows)}</table>"
    return f'<h2>Structures</h2>\n<div class="numbers">{table}</div>{missing}'


def _cell(key: str, found: Mapping[str, float]) -> str:
    if key not in found:
        return ""
    value = 100 * found[key] if key == "share" else found[key]
    return f"{value:.2f}" if key == "dice" else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _done(record: Mapping[str, Any], prediction: Prediction) -> dict[str, str]:
    axes = "slices, rows, columns" if record["spacing"] else "rows, columns, colours"
    return {
        "input": record["name"],
        "predicts": record["task"],
        "size": " × ".join(str(n) for n in record["shape"]) + f" ({axes})",
        **({"spacing": " × ".join(f"{mm:.4g}" for mm in record["spacing"]) + " mm"} if record["spacing"] else {}),
        "training scans": compared(prediction.likeness),
        "files": ", ".join(dict.fromkeys(name.partition("/")[0] for name in record["files"])),
        "medley": record["version"],
    }


def _model(predictor: Predictor, record: Mapping[str, Any]) -> dict[str, str]:
    """The most important rows of the model card; what the training record does not contain is left out."""
    description, task = predictor.description, predictor.task
    training = description.training
    grid = " × ".join(map(str, task.grid))
    spacing = " × ".join(f"{mm:.3g}" for mm in task.spacing)
    low, high = (minus(f"{value:g}") for value in task.range)
    rows = {
        "name": description.name,
        "network": description.architecture,
        "inputs": ", ".join(description.inputs),
        "grid": f"{grid} of {spacing} mm" if spacing else f"{grid} pixels",
        "range": f"{low} to {high} {task.unit}".strip(),
    }
    if "steps" in training:
        rows["training"] = f"{training['steps']:,} steps"
    if "train_subjects" in training:
        rows["trained on"] = f"{training['train_subjects']} subjects"
    for name, value in training.get("validation", {}).items():
        rows[f"validation: {score_name(name)}"] = score_text(name, value)
    return {**rows, "weights, sha256": record["model"]["sha256"]}
