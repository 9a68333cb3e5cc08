"""What the cards share: a frozen base that refuses unknown keys, names, figures, and r as TOML writes it."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from tome_zoo import schedule
from tome_zoo.errors import TomeZooError

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$")]
Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Number = Annotated[int, Field(ge=0, strict=True)]


class Card(BaseModel):
    """Frozen; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _schedule(value: Any) -> Any:
    """TOML has no tuples: an integer and a float are (r, inflection); integers alone are one r a block."""
    if isinstance(value, str):
        try:
            parsed = schedule.parse(value)
        except TomeZooError as error:
            raise ValueError(str(error)) from None
        if len(parsed) != 1:
            raise ValueError(f"{value!r} stands for {len(parsed)} schedules, expected one")
        return parsed[0]
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, list | tuple) and all(type(item) is int for item in value):
        return list(value)
    if isinstance(value, list | tuple) and len(value) == 2 and type(value[0]) is int and type(value[1]) is float:
        return (value[0], value[1])
    raise ValueError(f"r must be 8, [8, -1.0] or [9, 0, 4] (a float marks the inflection), got {value!r}")


R = Annotated[int | tuple[int, float] | list[int], BeforeValidator(_schedule)]
