"""Core. Stage 3: which service, which rule, may it?"""
