"""What every number of a report is, in words. Not here: the numbers."""

from __future__ import annotations

DEFINITIONS: tuple[tuple[str, str], ...] = (
    (
        "Launch",
        "One run of the runner process for one case. It is the unit of analysis: iterations of one "
        "launch resemble one another, so only launches count as observations.",
    ),
    (
        "Median latency",
        "Each launch gives the median of its steady iterations (one inference each, inputs ready, "
        "after warm-up, monotonic clock); this is the median of those over the launches that are ok.",
    ),
    (
        "[a, b]",
        "95% percentile bootstrap interval of the median over launches (10,000 resamples, seeded). "
        "With fewer than 5 launches there is no interval, and the range of the launches is given.",
    ),
    ("p90", "As the median latency, from each launch's 90th percentile."),
    (
        "Versus",
        "How many times faster or slower than the model's first recipe with the same engine, "
        "threads and options on the same device: launches of the same round are paired, and this "
        "is the median of their ratios with its 95% interval. “No difference shown” means "
        "that the interval holds 1, not that there is none.",
    ),
    (
        "First inference",
        "The first inference after the cold load; memory is allocated and caches are filled here.",
    ),
    (
        "Load, cold",
        "Loading the model file into the engine, once, after its pages were dropped from the page "
        "cache. What could not be dropped is stated above.",
    ),
    (
        "Load, warm",
        "Loading the same file again in the same process; the median of several loads.",
    ),
    (
        "Peak memory",
        "vm_hwm: the process's resident high-water mark (VmHWM), or resident plus swapped if that "
        "is more, when the steady loop ended. From the memory pass, which times nothing. “Model” "
        "is its growth since the engine was ready, before the model was loaded.",
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
    (
        "Process start",
        "From just before the runner was executed to the start of its main function.",
    ),
    (
        "CPU per wall",
        "CPU time of the process over wall time of the steady loop: 1.0 is one busy core.",
    ),
    (
        "Involuntary switches",
        "How often a second the kernel took a core away from the process during the steady loop.",
    ),
)

# What a case's row says for each doubt that names it.
FLAG_WORDS: dict[str, str] = {
    "wrong_outputs": "wrong outputs",
    "lost_launches": "lost launches",
    "not_as_requested": "not as requested",
    "few_launches": "few launches",
    "bimodal_cases": "two groups",
    "varying_launches": "noisy",
    "busy_cores": "busy cores",
    "drifting_cases": "drifts",
    "warm_cold_loads": "cold load is warm",
    "few_iterations": "few iterations",
}
