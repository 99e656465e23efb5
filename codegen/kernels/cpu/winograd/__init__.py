"""Convolutions by minimal filtering, all three directions."""
