"""The embedded models from nothing: write their data sets, then train by their recipes."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tome_zoo import cards, registry
from tome_zoo.data.dataset import Dataset, open_dataset
from tome_zoo.demo import RECIPES, Recipe, write_data
from tome_zoo.errors import DataError
from tome_zoo.training.in_memory import Progress
from tome_zoo.training.trainer import TrainResult, train


def retrain(
    name: str,
    output: str | Path,
    *,
    data: str | Path | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> TrainResult:
    """Train an embedded model from nothing.

    Args:
        name: A name in `RECIPES`.
        output: File of weights to write.
        data: Folder for the data set. A split that lies there already is taken as it is; None uses a temporary folder.
        progress: Called with (done, of how many, doing what).
        **options: Arguments of `tome_zoo.training.trainer.train` other than the recipe's.

    Raises:
        DataError: If there is no recipe of that name, or a split that lies there is not whole.
    """
    if name not in RECIPES:
        raise DataError(f"no recipe is named {name!r}; there are {', '.join(RECIPES)}")
    with TemporaryDirectory(prefix="tome-zoo-") as temporary:
        root = Path(temporary if data is None else data)
        training, validation = (_split(RECIPES[name], root, split, progress) for split in ("train", "val"))
        model = registry.create_model(name)
        settings = {**RECIPES[name].options, **options}
        return train(model, training, validation=validation, output=output, progress=progress, **settings)


def _split(recipe: Recipe, root: Path, split: str, progress: Progress | None) -> Dataset:
    """A split of a demo data set, written if it is not there."""
    card = cards.dataset_card(recipe.dataset)
    place = root / card.splits[split][0]
    if not place.exists():

        def told(done: int, total: int) -> None:
            if progress is not None:
                progress(done, total, f"writing {card.name} {split}")

        write_data(card.name, root, split=split, progress=told)
    data = open_dataset(root, card, split)
    if len(data) != recipe.count[split]:
        raise DataError(
            f"expected {recipe.count[split]} samples of split {split!r} in {place}, found {len(data)}, as an "
            "interrupted run may leave them: remove them to have them written anew"
        )
    return data
