"""Score rows as a comparison writes them, with known effects."""

import json

import numpy as np

from medley.scoring.rows import ScoreRow
from medley.targets import Target
from medley.tasks import Task

ORGANS = ("Brainstem", "SpinalCord", "RightParotid", "Larynx", "PTV70")
DIAGNOSES = ("nevus", "melanoma", "seborrheic_keratosis")
TASK = Task(
    name="made", title="made up", channels=("CT",), range=(0, 1), grid=(8, 8, 8),
    targets=(
        Target(name="segmentation", kind="structures", names=ORGANS),
        Target(name="dose", kind="map", unit="Gy", scale=70),
        Target(name="diagnosis", kind="classes", names=DIAGNOSES),
    ),
)  # fmt: skip
HEADER = {"experiment": "made", "baseline": "stl", "task": json.dumps(TASK.model_dump(mode="json"))}
GAINS = {"stl": 0.0, "hps": -0.3, "mtan": 0.02, "ctan": 0.5}  # 1 is one standard deviation between cases


def multitask(gains=GAINS, seeds=(0, 1, 2), cases=40, *, seed=0):
    """Structures, dose and diagnosis of `cases` people; the last organ is missing in every fifth."""
    rng = np.random.default_rng(seed)
    hardness = rng.normal(size=cases)
    labels = rng.choice(3, cases, p=[0.5, 0.3, 0.2])
    rows = []
    for m, (method, gain) in enumerate(gains.items()):
        for s in seeds:
            known = {"parameters": int(1e6 * (1 + m)), "flops": int(3e9 * (1 + m)), "seconds": 600.0 + 40 * m + s}
            luck = rng.normal(0, 0.05)
            for k in range(cases):
                skill = gain + luck - hardness[k]
                who = {"method": method, "seed": s, "subject": f"person-{k}", "record": f"pt_{k}", **known}
                dices = {f"dice {o}": float(np.clip(0.75 + 0.08 * skill + rng.normal(0, 0.02), 0, 1)) for o in ORGANS}
                if k % 5 == 0:
                    dices.pop("dice PTV70")
                rows.append(row(who, "segmentation", {"dice": float(np.mean(list(dices.values()))), **dices}))
                mae, dvh = (abs(3 - 0.4 * skill + rng.normal(0, 0.1)) for _ in range(2))
                rows.append(row(who, "dose", {"mae": mae, "dvh": dvh, "dvh entries": 11 - (k % 5 == 0)}))
                logits = rng.normal(size=3) + (1.2 + skill) * np.eye(3)[labels[k]]
                p = np.exp(logits) / np.exp(logits).sum()
                values = {"label": int(labels[k]), **{f"p {d}": float(v) for d, v in zip(DIAGNOSES, p, strict=True)}}
                rows.append(row(who, "diagnosis", values))
    return rows


def restoration(gains=GAINS, seeds=(0, 1), cases=6, *, seed=0):
    """CT and PET of different people, with scans of different length."""
    rng = np.random.default_rng(seed)
    rows = []
    for task in ("ct-denoise", "pet-denoise"):
        hardness, slices = rng.normal(size=cases), rng.integers(5, 90, cases)
        for method, gain in gains.items():
            for s in seeds:
                cost = {"parameters": 26_000_000, "flops": 14_000_000_000, "seconds": 5400.0}
                for k in range(cases):
                    psnr = 33 + gain - hardness[k] + rng.normal(0, 0.05)
                    values = {
                        "psnr": psnr,
                        "ssim": 0.9 + psnr / 1000,
                        "rmse": 400 / 10 ** (psnr / 20),
                        "slices": int(slices[k]),
                    }
                    who = (method, task, "image", f"{task}-{k}", f"{task}-{k}-scan")
                    rows.append(ScoreRow(*who, seed=s, **cost, values=values))
    return rows


def row(who, target, values):
    return ScoreRow(**who, task="made", target=target, values=values)
