"""What does a one-hot vector cost, if a look-up gives the same?"""

from ..common.start import start

if __name__ == "__main__":
    start("one_hot", "models")
