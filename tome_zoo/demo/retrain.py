"""The embedded models from nothing: write their data sets, then train by their recipes."""

from pathlib import Path
from typing import Any

from tome_zoo.demo import COUNTS, MODELS, write_missing_data
from tome_zoo.errors import DataError
from tome_zoo.training.trainer import TrainingProgress, TrainResult, train


def retrain(
    name: str,
    output: str | Path,
    *,
    data: str | Path | None = None,
    progress: TrainingProgress | None = None,
    **options: Any,
) -> TrainResult:
    """Train an embedded model from nothing.

    Args:
        name: One of `MODELS`.
        output: Folder of the run.
        data: Folder for the data set. A split that lies there already is taken as it is; None takes `output`/data.
        progress: Called with (done, of how many, doing what).
        **options: Arguments of `tome_zoo.train` other than the recipe's.

    Raises:
        DataError: If there is no embedded model of that name, or a split that lies there is not whole.
    """
    if name not in MODELS:
        raise DataError(f"no embedded model is named {name!r}; there are {', '.join(MODELS)}")
    root = Path(output) / "data" if data is None else Path(data)
    for split in COUNTS[MODELS[name]]:
        write_missing_data(MODELS[name], root, split, progress=progress)
    settings = {"save_dtype": "float16", "license": "Apache-2.0", **options}
    return train(name, root, output=output, progress=progress, **settings)
