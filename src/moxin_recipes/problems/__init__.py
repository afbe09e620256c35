"""Programs that generate problems with answers."""
