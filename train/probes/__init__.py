"""Questions with known answers, asked of finished runs."""
