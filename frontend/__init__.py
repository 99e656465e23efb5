"""The DSL, and one file per model."""
