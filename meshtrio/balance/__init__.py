"""Core. Stage 4: which endpoint?"""
