"""What was asked: the tables of a manifest, checked whole before anything is done."""
