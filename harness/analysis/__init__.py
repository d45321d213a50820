"""Records become numbers, numbers become cases: what a launch says, whether it counts, how sure it is."""
