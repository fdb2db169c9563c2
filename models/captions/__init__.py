"""One to many: what is in the image?"""
