"""Who writes worked solutions, and what is kept of them."""
