"""One cell on several devices or machines."""
