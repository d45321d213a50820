"""Model and recipe become an artifact, on the host's side."""
