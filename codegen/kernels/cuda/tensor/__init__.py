"""Contractions in tf32 and bf16, multiplied and added by tensor cores."""
