"""Is a device fit to be measured? Asked before every run."""
