"""The export worker, sealed: it runs under interpreters where harness is not installed, and knows torch."""
