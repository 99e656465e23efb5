"""Runs plans on NVIDIA GPUs."""
