"""Train small language models on packed tokens and fit what their losses say."""
