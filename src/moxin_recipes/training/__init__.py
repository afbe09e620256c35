"""What trains and measures: trainers, checkpoints, held-out scores."""
