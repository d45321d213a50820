"""The shape of every file, without behaviour: plan, job, record, artifact, device, sweep."""
