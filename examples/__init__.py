"""Plans and models that a newcomer runs first."""
