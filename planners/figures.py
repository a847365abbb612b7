"""Figures as people write them."""


def shown(value: float, unit: str) -> str:
    """A figure with its unit as people write it: `3.48 %`, `$219`, `412 ms`."""
    if unit == "relative":
        return f"{plain(100 * value)} %"
    return f"${plain(value)}" if unit == "USD" else f"{plain(value)} {unit}"


def plain(value: float) -> str:
    """Four digits, never with an exponent."""
    return f"{float(f'{value:.4g}'):,.10g}"


def counted(number: float, noun: str) -> str:
    """A number of things: `1 request`, `0.5 requests`, `2 requests`."""
    return f"{number:g} {noun if number == 1 else f'{noun}s'}"
