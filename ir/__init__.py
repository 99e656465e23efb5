"""The graph language: types, nodes, the op table, text, oracle, verifier, pictures."""
