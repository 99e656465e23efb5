"""The passes: Graph to Graph, one file each; `pipeline.py` is the list."""
