"""What is measured of every document, with which models, and what is cut."""
