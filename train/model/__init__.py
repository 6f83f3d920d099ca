"""The model: its shell (transformer), its parts, its losses, and kernels that make it fast on a CPU."""
