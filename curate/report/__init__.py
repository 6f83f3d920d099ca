"""The page: the facts that say what was found, and how they are drawn and laid out.

results, studies -> findings -> facts -> layout (charts, page/)
"""
