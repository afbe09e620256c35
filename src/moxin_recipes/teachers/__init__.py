"""Teachers write worked solutions; this package asks them and keeps what a verifier accepts."""
