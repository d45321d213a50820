"""A plan on devices becomes launches in a sweep folder."""
