"""Pictures and pages of what a ladder has made."""
