"""Files of many formats become documents with stable ids."""
