"""Who is a copy of whom, in one pool or against an index, and what to say of it."""
