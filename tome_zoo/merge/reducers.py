"""Reducers by name: "bipartite", "kmeans:rounds=5", a function of one's own, or a package's entry point.

An entry point of the group `tome_zoo.reducers` adds a name for everybody; `register_reducer` adds one in a script.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import Any

from tome_zoo.errors import TomeZooError
from tome_zoo.merge import axes, clustering, fusion, pruning
from tome_zoo.merge.fingerprint import fingerprint
from tome_zoo.merge.reduction import Reduction

Reduce = Callable[..., Reduction]
MatchingMacs = Callable[..., int]
DEFAULT_REDUCER = "bipartite"
ENTRY_POINTS = "tome_zoo.reducers"


@dataclass(frozen=True)
class StepShape:
    """What the cost of a step depends on: tokens that enter, prefix tokens, tokens to remove, and the width."""

    n_tokens: int
    protected: int
    r: int
    width: int
    heads: int
    head_dim: int

    @property
    def n(self) -> int:
        """Unprotected tokens."""
        return self.n_tokens - self.protected


@dataclass(frozen=True)
class Reducer:
    """A way of reducing tokens with its options.

    Attributes:
        name: As it is written: "kmeans:rounds=5".
        reduce: `reduce(inputs, r, protected, **options)` gives a `Reduction` of `tokens - r` tokens.
        options: Keyword arguments of `reduce`.
        macs: Multiply-accumulates that it costs beside the block's, of a `StepShape` and the options; None: not known.
        class_token: Whether it needs a class token.
    """

    name: str
    reduce: Reduce
    options: Mapping[str, Any] = field(default_factory=dict)
    macs: MatchingMacs | None = None
    class_token: bool = False

    def __call__(self, inputs: Any, r: int, protected: int) -> Reduction:
        """One step.

        Raises:
            TomeZooError: If it gives no `Reduction` of that many tokens.
        """
        step = self.reduce(inputs, r, protected, **self.options)
        n_tokens = inputs.x.shape[1]
        if not isinstance(step, Reduction) or step.n_out != n_tokens - r or step.assign.shape != inputs.x.shape[:2]:
            raise TomeZooError(
                f"reducer {self.name!r} should give a Reduction from {n_tokens} to {n_tokens - r} tokens with assign "
                f"[batch, {n_tokens}], got {step!r:.200}"
            )
        return step

    @property
    def identity(self) -> str:
        """What scores depend on: the name, and of a function of one's own also a digest of what it does.

        Raises:
            TomeZooError: If it holds something of which nobody can tell whether it is still the same.
        """
        own = _BUILT_IN.get(self.name.partition(":")[0])
        if own is not None and own.reduce is self.reduce and get_reducer(self.name).options == self.options:
            return self.name
        return f"{self.name}@{fingerprint(functools.partial(self.reduce, **self.options))[:8]}"

    @property
    def is_default(self) -> bool:
        """Whether it is the default matching, which the transformer runs by a shorter way."""
        return self.reduce is axes.bipartite and not self.options

    def count(self, shape: StepShape) -> int:
        """Multiply-accumulates of one step beside the block's own; 0 where nobody said."""
        return 0 if self.macs is None else self.macs(shape, **self.options)


def _bipartite_macs(
    s: StepShape, *, feature: str = "k", heads: str = "mean", partition: str = "alternating", **_: Any
) -> int:
    a = s.n // 2 if partition != "alternating" else (s.n + (1 - s.protected % 2)) // 2
    wide = s.width if feature.startswith("x") else s.head_dim * (s.heads if heads == "concat" else 1)
    return a * (s.n - a) * wide


def _class_row(s: StepShape, **_: Any) -> int:
    return s.n_tokens * s.heads * s.head_dim


def _importance_macs(s: StepShape, *, pruned: float = 1 / 3) -> int:
    return _class_row(s) + s.r * (s.n - s.r) * s.width


def _all_pairs(s: StepShape, **_: Any) -> int:
    return s.n * s.n * s.head_dim


def _kmeans_macs(s: StepShape, *, rounds: int = 20) -> int:
    return (1 + rounds) * s.n * (s.n - s.r) * s.head_dim  # at most


def _received(s: StepShape, **_: Any) -> int:
    return s.n_tokens * s.n_tokens * s.heads * s.head_dim


def _pitome_macs(s: StepShape, **_: Any) -> int:
    return s.n * s.n * s.head_dim + (s.n // 2) ** 2 * s.head_dim  # at most


_BUILT_IN: dict[str, Reducer] = {
    made.name: made
    for made in (
        Reducer("bipartite", axes.bipartite, macs=_bipartite_macs),
        Reducer("greedy", clustering.greedy, macs=_all_pairs),
        Reducer("kmeans", clustering.kmeans, macs=_kmeans_macs),
        Reducer("hierarchical", clustering.hierarchical, macs=_all_pairs),
        Reducer("random", pruning.random),
        Reducer("attention", pruning.attention, macs=_received),
        Reducer("topk", pruning.topk, macs=_class_row, class_token=True),
        Reducer("evit", pruning.evit, macs=_class_row, class_token=True),
        Reducer("importance", fusion.importance, macs=_importance_macs, class_token=True),
        Reducer("pitome", fusion.pitome, macs=_pitome_macs),
        Reducer("tofu", fusion.tofu, macs=_bipartite_macs),
    )
}
_registered: dict[str, Reducer] = {}


def register_reducer(
    name: str, reduce: Reduce, *, macs: MatchingMacs | None = None, class_token: bool = False
) -> Reducer:
    """Give a function of one's own a name.

    Args:
        name: Without ":" and "=".
        reduce: `reduce(inputs, r, protected, **options)`, see `tome_zoo.merge.reduction`.
        macs: What it costs, of a `StepShape` and the options.
        class_token: Whether it needs a class token.

    Raises:
        TomeZooError: If the name is taken or has such a character.
    """
    if not name or set(":=, ") & set(name):
        raise TomeZooError(f"a reducer's name should be one word without ':', '=' and ',', got {name!r}")
    if name in _BUILT_IN:
        raise TomeZooError(f"{name!r} is a reducer of this package: choose another name")
    _registered[name] = Reducer(name, reduce, macs=macs, class_token=class_token)
    return _registered[name]


def list_reducers() -> list[str]:
    """Names of all reducers: this package's, registered ones, entry points."""
    return list(dict.fromkeys([*_BUILT_IN, *_registered, *(point.name for point in entry_points(group=ENTRY_POINTS))]))


AnyReducer = str | Reducer | Reduce


def get_reducer(reducer: AnyReducer = DEFAULT_REDUCER) -> Reducer:
    """The reducer of a name with its options, "name:option=value,option=value", or of a function.

    Raises:
        TomeZooError: If there is none of that name, or it has no such option.
    """
    if isinstance(reducer, Reducer):
        return reducer
    if not isinstance(reducer, str):
        return Reducer(getattr(reducer, "__name__", type(reducer).__name__), reducer)
    name, _, text = reducer.partition(":")
    found = _find(name)
    if not text:
        return found
    options = dict(_option(found, part) for part in text.split(","))
    return Reducer(reducer, found.reduce, {**found.options, **options}, found.macs, found.class_token)


def _find(name: str) -> Reducer:
    for known in (_BUILT_IN, _registered):
        if name in known:
            return known[name]
    for point in entry_points(group=ENTRY_POINTS, name=name):
        loaded = point.load()
        return loaded if isinstance(loaded, Reducer) else Reducer(name, loaded)
    near = get_close_matches(name, list_reducers(), n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise TomeZooError(f"there is no reducer {name!r}; {hint}There are {', '.join(list_reducers())}")


def _option(reducer: Reducer, text: str) -> tuple[str, Any]:
    """An option as it is written, of the type that the function states, or else of its default's."""
    from pydantic import TypeAdapter, ValidationError

    key, equals, value = text.partition("=")
    options = _options(reducer.reduce)
    if not equals or key not in options:
        raise TomeZooError(
            f"reducer {reducer.name!r} has no option {text!r}: write {reducer.name}:option=value; "
            f"it has {', '.join(options) or 'none'}"
        )
    try:
        return key, TypeAdapter(options[key]).validate_strings(value)
    except ValidationError as error:
        message = error.errors()[0]["msg"].replace("Input", f"option {key} of reducer {reducer.name!r}", 1)
        raise TomeZooError(f"{message}; got {value!r}") from None


def _options(reduce: Reduce) -> dict[str, Any]:
    """What a function takes beside inputs, r and protected, by its type."""
    try:
        parameters = inspect.signature(reduce, eval_str=True).parameters.values()
    except NameError:  # a type that is imported for type checkers alone
        parameters = inspect.signature(reduce).parameters.values()
    found = {}
    for position, parameter in enumerate(parameters):
        named = parameter.kind is parameter.KEYWORD_ONLY
        if named or (parameter.kind is parameter.POSITIONAL_OR_KEYWORD and position > 2):
            stated, default = parameter.annotation, parameter.default
            given = Any if default is None or default is parameter.empty else type(default)
            found[parameter.name] = given if stated is parameter.empty or isinstance(stated, str) else stated
    return found
