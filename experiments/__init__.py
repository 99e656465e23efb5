"""The 2012 paper's experiments, each a command that builds, trains, evaluates and compares."""
