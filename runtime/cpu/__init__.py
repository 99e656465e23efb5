"""Runs plans on this machine's processor."""
