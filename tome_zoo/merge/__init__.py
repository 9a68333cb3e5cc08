"""Token merging: steps as integer maps, the default matching, and other ways of reducing tokens. torch only.

`match` chooses a map, `merge` averages by it, `unmerge` copies back along it, `compose` follows tokens through several.
`get_reducer` gives the other ways by name. Tensors in, tensors out; no state.
"""

from tome_zoo.merge.bipartite import SCORES, Pairs, assignment, best_partners, match, merge_pairs, pair
from tome_zoo.merge.maps import compose, merge, merge_count, unmerge
from tome_zoo.merge.reducers import (
    DEFAULT_REDUCER,
    AnyReducer,
    Reducer,
    StepShape,
    get_reducer,
    list_reducers,
    register_reducer,
)
from tome_zoo.merge.reduction import ReducerInputs, Reduction, apply_reduction

__all__ = [
    "DEFAULT_REDUCER",
    "SCORES",
    "AnyReducer",
    "Pairs",
    "Reducer",
    "ReducerInputs",
    "Reduction",
    "StepShape",
    "apply_reduction",
    "assignment",
    "best_partners",
    "compose",
    "get_reducer",
    "list_reducers",
    "match",
    "merge",
    "merge_count",
    "merge_pairs",
    "pair",
    "register_reducer",
    "unmerge",
]
