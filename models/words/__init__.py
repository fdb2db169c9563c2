"""The language model: which word comes next?"""
