"""The page: answers to what the runs were for, the facts that say them, and how they are drawn and laid out.

answers -> finding: scaling, repetition, mixtures, attribution -> findings -> facts -> layout (charts, page/)
"""
