"""What was asked, as plain values: the ground that every step stands on."""
