"""How tables print numbers; "-" where there is none."""


def format_number(value: float | None) -> str:
    """Three or four significant digits, thousands with a comma."""
    if value is None:
        return "-"
    if 0 < value < 0.1:
        return f"{value:.3g}"
    decimals = 0 if value >= 1000 else 1 if value >= 100 else 2 if value >= 10 else 3
    return f"{value:,.{decimals}f}"


def format_ratio(value: float | None) -> str:
    """A ratio, as in "1.98x"."""
    return "-" if value is None else f"{value:.2f}x"


def format_percent(value: float | None, decimals: int = 0) -> str:
    """A share of one in per cent."""
    return "-" if value is None else f"{100 * value:.{decimals}f} %"
