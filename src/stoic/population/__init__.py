"""Units of a fault space, told apart by how much they may matter."""
