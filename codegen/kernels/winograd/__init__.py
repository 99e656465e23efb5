"""Convolutions by minimal filtering, what all devices share: tiles, and which are accurate."""
