"""Stage metrics as local modules of the `evaluate` library."""
