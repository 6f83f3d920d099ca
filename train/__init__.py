"""Train small language models on packed tokens and fit what their losses say."""

VERSION = 11  # raise it when a change of this package changes the weights that a cell gives
