"""What moves the weights: AdamW and Muon, their groups and their schedule."""
