"""Stages as Hugging Face Jobs: on which machine, for how much, with which code, followed."""
