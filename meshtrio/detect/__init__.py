"""Core. Stage 2: what does it speak?"""
