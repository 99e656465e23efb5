"""Runs plans and trains with them; knows no graphs and needs no compiler."""
