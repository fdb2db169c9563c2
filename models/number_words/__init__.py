"""Sequence to sequence: what is that number in Korean?"""
