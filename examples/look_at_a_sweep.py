"""Look at a sweep: load it, keep what counts, compare two recipes, see a launch over time.

Run it whole, or cell by cell in an editor that knows `# %%`:

    python examples/look_at_a_sweep.py sweeps/20261121-1200-mine
"""

# %% Load a sweep: the one that is named, or the newest. A list of folders loads several.
from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt

import harness

named = [Path(word) for word in sys.argv[1:] if Path(word, "sweep.json").exists()]
folder = named[0] if named else max(Path("sweeps").glob("*/"), key=lambda one: one.stat().st_mtime)
frames = harness.load(folder)
print(frames)

# %% Every launch is a row. These do not count, and this is why.
launches = frames.launches
lost = launches[~launches.valid]
print(f"\n{len(lost)} of {len(launches)} launches do not count")
print(lost.validity_keys.fillna(lost.error_kind).value_counts().to_string())

# %% What each case takes, on each device: the median over its launches that count.
cases = frames.cases
shown = ["device", "model", "recipe", "threads", "latency_p50_ms", "peak_bytes", "status"]
print(f"\n{cases[shown].to_string(index=False)}")

# %% Compare two recipes of one model. A launch is an observation, never an iteration; launches of
# the same round met the same weather, so they are compared with one another.
device, model = cases.device.iloc[0], cases.model.iloc[0]
own = launches[(launches.device == device) & (launches.model == model) & launches.valid]
timed = own[own["pass"] == "latency"]
first, other = cases[(cases.device == device) & (cases.model == model)].recipe.unique()[:2]
by_round = timed.pivot_table(index=["threads", "round"], columns="recipe", values="latency_p50_ms")
factors = (by_round[first] / by_round[other]).groupby("threads")
print(f"\n{model} on {device}: {other} is faster than {first} by a factor of")
print(factors.describe()[["count", "25%", "50%", "75%"]].to_string())

# %% The same with an interval: the ratio over the baseline (the first recipe) is in the cases.
ratios = ["recipe", "threads", *(f"latency_p50_ms_ratio{end}" for end in ("", "_low", "_high"))]
here = cases[(cases.device == device) & (cases.model == model)]
print(f"\n{here.loc[here.latency_p50_ms_ratio.notna(), ratios].to_string(index=False)}")

# %% Latency over time of one case: every iteration of its launches, one after another.
case = timed.case.iloc[0]
steady = frames.samples.query("case == @case and device == @device and phase == 'steady'")
figure, axes = plt.subplots(figsize=(8, 3.5), layout="constrained")
for index, launch in steady[steady["pass"] == "latency"].groupby("index"):
    colour = "tab:blue" if launch.valid.all() else "lightgray"
    axes.plot(launch.start_seconds, launch.duration_ms, ".", ms=2, color=colour, label=index)
axes.set(xlabel="seconds since the runner began", ylabel="milliseconds", title=case)
figure.savefig("latency.png", dpi=150)
print("\nwrote latency.png")

# %% What the device did meanwhile: any quantity that was followed, of one launch.
index = own[own["pass"] != "latency"]["index"].min()  # the memory and the energy pass follow more
followed = frames.traces.query("device == @device and index == @index")
print(f"\nlaunch {index} followed {', '.join(followed.trace.unique())}")
