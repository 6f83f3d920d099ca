"""Studies: a file a question that a manifest may ask beside its grid; `registry` knows them all."""
