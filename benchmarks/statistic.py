"""Numbers of several rounds, and as text."""

import statistics


def spread(numbers):
    """The smallest, the median and the largest."""
    return {"min": min(numbers), "median": statistics.median(numbers), "max": max(numbers)}


def ratios(mine, theirs):
    """The spread of the quotients, each of two measurements of one round."""
    return spread([one / other for one, other in zip(mine, theirs, strict=True)])


def percentile(numbers, share):
    """The smallest number that is not below so many of them."""
    return sorted(numbers)[min(len(numbers) - 1, int(share * len(numbers)))]


def short(number):
    """Three digits that count."""
    if number is None:
        return ""
    if abs(number) >= 1000:
        return f"{float(f'{number:.3g}'):,.0f}"
    return f"{float(f'{number:.3g}'):g}"


def several(found):
    """A spread as text: the median, and the ends in brackets."""
    return f"{short(found['median'])} ({short(found['min'])}-{short(found['max'])})"
