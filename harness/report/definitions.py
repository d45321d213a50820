"""What a reader of a report has to know, in words: the terms, and every number.

The numbers' own words stand with them (`analysis/metrics.py`). Not here: the numbers.
"""

from __future__ import annotations

from harness.analysis import metrics

_TERMS: tuple[tuple[str, str], ...] = (
    (
        "Launch",
        "One run of the runner process for one case. It is the unit of analysis: iterations of one "
        "launch resemble one another, so only launches count as observations.",
    ),
    (
        "Valid",
        "A launch counts if it ended well and nothing that was recorded around it speaks against "
        "it: heat, clocks, charging, other load, outputs, settings in force. “8 of 10” are 8 "
        "that count of 10 that ran, in all passes, retries included. The others are kept and shown "
        "(hollow dots), and are in no number here.",
    ),
    (
        "[a, b]",
        "95% interval of the median over launches, of order statistics (interpolated after "
        "Hettmansperger and Sheather): it asks nothing of how launches are distributed. With fewer "
        "than 5 launches there is no interval, and the range of the launches is given.",
    ),
    (
        "Versus",
        "How many times faster or slower than the model's first recipe with the same engine, "
        "threads and options on the same device: launches of the same round are paired, and this "
        "is the median of their ratios with its 95% interval. So is the factor below a peak. “No "
        "difference shown” means that the interval holds 1, not that there is none.",
    ),
)

_FACTS: tuple[tuple[str, str], ...] = (
    (
        "Energy versus",
        "The energy over that of the model's first recipe, all else equal, on the same device and "
        "source of power. Its interval adds both cases' relative intervals in quadrature, but for "
        "the scale of the gauge, which they share. Energies of different sources, of different "
        "calibrations, or not told from idle are not compared.",
    ),
    ("Size", "The artifact file, in MB of 1,000,000 bytes."),
    (
        "Parameters",
        "Of the model after pruning and before quantization. FLOPs count a multiply and an add as "
        "two.",
    ),
    (
        "Accuracy",
        "Top-1 on the plan's evaluation set, computed on the host with the exported artifact.",
    ),
    (
        "Fidelity",
        "The outputs on this device against the eager model's on the same inputs: the ratio of "
        "signal to error power (SQNR, in dB, more is closer), the worst launch. “Host” is the same "
        "artifact on the host, at export.",
    ),
)


def definitions() -> tuple[tuple[str, str], ...]:
    """Return each term and each number with what it is, in the order of the page."""
    numbers = ((metric.label, metric.definition) for metric in metrics.METRICS)
    return (*_TERMS, *numbers, *_FACTS)
