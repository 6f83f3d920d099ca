"""What answers a question without training: plan, explain, diff, show, sweep."""
