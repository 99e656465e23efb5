"""Convolutions in f32 by minimal filtering: transforms, and products of what they make."""
