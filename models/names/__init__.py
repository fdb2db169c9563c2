"""Many to one: which language is a name of?"""
