"""Pictures of runs and networks: drawn on a canvas, written as SVG or PNG."""
