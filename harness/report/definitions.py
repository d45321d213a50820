"""What every number of a report is, in words. Not here: the numbers."""

from __future__ import annotations

DEFINITIONS: tuple[tuple[str, str], ...] = (
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
        "Median latency",
        "Each launch gives the median of its steady iterations (one inference each, inputs ready, "
        "after warm-up, monotonic clock); this is the median of those over the launches that count.",
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
        "max(vm_hwm, rss + swap): the process's resident high-water mark (VmHWM) when the steady "
        "loop ended, or resident plus swapped at any mark or reading until then, if that is more. "
        "From the memory pass, which times nothing. “Model” is its growth since the engine was "
        "ready, before the model was loaded.",
    ),
    (
        "RSS, PSS, swap",
        "When the steady loop of the memory pass ended. rss: the process's resident pages (VmRSS), "
        "those it shares with others in full; pss: the same with shared pages divided among their "
        "users (smaps_rollup); swap: what was swapped out (VmSwap; on Android, into zram). Numbers "
        "of different definitions are not compared.",
    ),
    (
        "Grows by",
        "How fast resident and swapped memory grow with each inference of the steady loop, with "
        "its 95% interval; shown where growth is beyond doubt in most memory launches.",
    ),
    (
        "Energy",
        "Joules an inference, net of idle: the power of the steady loop of the energy pass less "
        "the idle power before and after it, times its time, over its inferences. The median over "
        "the launches that count. Its interval covers what lies between launches (bootstrap; with "
        "fewer than 5, their range) and within one (steps and refresh of the gauge, drift of the "
        "idle, sampling, scale), added in quadrature: the steps and the scale are common to all "
        "launches, and no number of them makes these smaller.",
    ),
    (
        "Energy versus",
        "The energy over that of the model's first recipe, all else equal, on the same device and "
        "source of power. Its interval adds both cases' relative intervals in quadrature, but for "
        "the scale of the gauge, which they share. Energies of different sources, of different "
        "calibrations, or not told from idle are not compared.",
    ),
    (
        "Power",
        "The energy an inference times the inferences a second: power net of idle. “In all” is the "
        "power of the steady loop with idle in it.",
    ),
    (
        "Clock",
        "The mean clock of the fastest core in the steady loop of the latency pass, from cpufreq's "
        "time_in_state at the marks around it.",
    ),
    (
        "Sampling",
        "What reading the probes cost: CPU time of all readings over the wall time of the launch, "
        "the median over the launches of a pass.",
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
    "few_launches": "few launches",
    "bimodal_cases": "two groups",
    "varying_launches": "noisy",
    "busy_cores": "busy cores",
    "drifting_cases": "drifts",
    "warm_cold_loads": "cold load is warm",
    "few_iterations": "few iterations",
    "leaks": "memory grows",
    "no_energy": "no energy",
    "not_valid": "many not valid",
    "energy_not_compared": "energy not compared",
}
