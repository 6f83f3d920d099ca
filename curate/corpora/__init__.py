"""Who is kept, who is held out, and the corpora that are written."""
