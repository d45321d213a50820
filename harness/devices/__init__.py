"""What can be measured: a folder a kind, all with the shape of `base.py`."""
