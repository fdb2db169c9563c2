"""One to one: what digit is it?"""
