"""What is trained: the grid, the studies beside it, their table on the terminal."""
